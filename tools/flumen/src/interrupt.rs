//! Ctrl-C: the first cancels the statement, the second leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flumen_cluster::CancelHandle;

/// Exit code after an interrupt.
pub(crate) const INTERRUPTED: u8 = 130;

/// Counts interrupts and cancels what runs.
#[derive(Clone, Default)]
pub(crate) struct Interrupts {
    count: Arc<AtomicUsize>,
    running: Arc<std::sync::Mutex<Option<CancelHandle>>>,
}

impl Interrupts {
    /// Listens from now on, on a thread of its own.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let interrupts = Self::default();
        let listener = interrupts.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("flumen-signals".to_owned()).spawn(move || {
            runtime.block_on(async move {
                while tokio::signal::ctrl_c().await.is_ok() {
                    if listener.count.fetch_add(1, Ordering::SeqCst) > 0 {
                        std::process::exit(i32::from(INTERRUPTED));
                    }
                    match listener.running.lock().unwrap_or_else(|p| p.into_inner()).as_ref() {
                        Some(running) => running.cancel(),
                        None => std::process::exit(i32::from(INTERRUPTED)),
                    }
                }
            });
        })?;
        Ok(interrupts)
    }

    /// From now on an interrupt cancels this.
    pub(crate) fn running(&self, handle: Option<CancelHandle>) {
        if handle.is_some() {
            self.count.store(0, Ordering::SeqCst);
        }
        *self.running.lock().unwrap_or_else(|p| p.into_inner()) = handle;
    }

    /// Whether the current statement was interrupted.
    pub(crate) fn interrupted(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }
}
