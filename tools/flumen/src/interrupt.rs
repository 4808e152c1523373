//! Ctrl-C: the first cancels the statement, the second leaves.
//!
//! A statement is all jobs of this process that have not ended. They are cancelled again and again until the statement is
//! over, since an interrupt may come while it is still being planned and has no job yet. Without a statement an interrupt
//! leaves, except in a shell, which then begins a new line.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Exit code after an interrupt.
pub(crate) const INTERRUPTED: u8 = 130;

/// Between two requests to stop.
const AGAIN: Duration = Duration::from_millis(20);

/// Counts interrupts and cancels what runs.
#[derive(Clone)]
pub(crate) struct Interrupts(Arc<State>);

struct State {
    /// Held while statements begin and end and while they are cancelled: what is meant for one never stops the next.
    turn: Mutex<()>,
    /// What stops everything that runs.
    cancel: Box<dyn Fn() + Send + Sync>,
    /// A statement runs.
    is_running: AtomicBool,
    /// Interrupts since it began.
    count: AtomicUsize,
    /// An interrupt between statements is the prompt's.
    in_shell: AtomicBool,
    /// What is written then, if the prompt does not write itself.
    prompt: Mutex<Option<&'static str>>,
    /// One came there.
    of_prompt: AtomicBool,
    /// Another program has the keyboard and interrupts for itself.
    is_lent: AtomicBool,
}

impl Interrupts {
    /// For what `cancel` stops; nothing is listened to yet.
    pub(crate) fn new(cancel: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(State {
            turn: Mutex::new(()),
            cancel: Box::new(cancel),
            is_running: AtomicBool::new(false),
            count: AtomicUsize::new(0),
            in_shell: AtomicBool::new(false),
            prompt: Mutex::new(None),
            of_prompt: AtomicBool::new(false),
            is_lent: AtomicBool::new(false),
        }))
    }

    /// Listens from now on, on a thread of its own.
    ///
    /// # Errors
    /// If the system gives no thread or no signals.
    pub(crate) fn listen(&self) -> anyhow::Result<()> {
        let listener = self.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("flumen-signals".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let mut again = tokio::time::interval(AGAIN);
                loop {
                    let received = if listener.interrupted() && listener.is_running() {
                        tokio::select! {
                            received = tokio::signal::ctrl_c() => received.map(|()| true),
                            _ = again.tick() => Ok(false),
                        }
                    } else {
                        tokio::signal::ctrl_c().await.map(|()| true)
                    };
                    match received {
                        Ok(true) => {
                            if listener.interrupt() {
                                std::process::exit(i32::from(INTERRUPTED));
                            }
                        }
                        Ok(false) => listener.cancel_again(),
                        Err(_) => return,
                    }
                }
            });
        })?;
        Ok(())
    }

    /// From now on an interrupt between statements is not the end; the prompt is written after one, if it is given.
    pub(crate) fn in_shell(&self, prompt: Option<&'static str>) {
        self.0.in_shell.store(true, Ordering::SeqCst);
        *self.0.prompt.lock().unwrap_or_else(PoisonError::into_inner) = prompt;
    }

    /// While another program has the keyboard, no number of interrupts is the end of this one.
    pub(crate) fn lend_keyboard(&self, is_lent: bool) {
        self.0.is_lent.store(is_lent, Ordering::SeqCst);
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.0.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cancels what an interrupted statement has started since.
    fn cancel_again(&self) {
        let _turn = self.turn();
        if self.interrupted() && self.is_running() {
            (self.0.cancel)();
        }
    }

    /// Acts on an interrupt; whether the program is to end.
    pub(crate) fn interrupt(&self) -> bool {
        let _turn = self.turn();
        if !self.is_running() {
            if self.0.in_shell.load(Ordering::SeqCst) {
                self.0.of_prompt.store(true, Ordering::SeqCst);
                if let Some(prompt) = *self.0.prompt.lock().unwrap_or_else(PoisonError::into_inner) {
                    let _ = write!(std::io::stderr(), "\n{prompt}");
                }
                return false;
            }
            return true;
        }
        if self.0.count.fetch_add(1, Ordering::SeqCst) > 0 {
            return !self.0.is_lent.load(Ordering::SeqCst);
        }
        (self.0.cancel)();
        false
    }

    /// A statement begins.
    pub(crate) fn begin(&self) {
        let _turn = self.turn();
        self.0.count.store(0, Ordering::SeqCst);
        self.0.is_running.store(true, Ordering::SeqCst);
    }

    /// The statement is over.
    pub(crate) fn end(&self) {
        let _turn = self.turn();
        self.0.is_running.store(false, Ordering::SeqCst);
    }

    /// Whether there was an interrupt between statements since the last call.
    pub(crate) fn take_of_prompt(&self) -> bool {
        self.0.of_prompt.swap(false, Ordering::SeqCst)
    }

    fn is_running(&self) -> bool {
        self.0.is_running.load(Ordering::SeqCst)
    }

    /// Whether the current statement, or the last one if none runs, was interrupted.
    pub(crate) fn interrupted(&self) -> bool {
        self.0.count.load(Ordering::SeqCst) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_interrupt_cancels_and_the_second_leaves() {
        let cancelled = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&cancelled);
        let interrupts = Interrupts::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        interrupts.begin();
        assert!(!interrupts.interrupted());
        assert!(!interrupts.interrupt() && interrupts.interrupted());
        assert_eq!(cancelled.load(Ordering::SeqCst), 1);
        assert!(interrupts.interrupt());
        interrupts.cancel_again();
        assert_eq!(cancelled.load(Ordering::SeqCst), 2);
        interrupts.end();
        assert!(interrupts.interrupted());
        interrupts.cancel_again();
        interrupts.begin();
        interrupts.cancel_again();
        assert!(!interrupts.interrupted());
        assert_eq!(cancelled.load(Ordering::SeqCst), 2, "the next statement is not meant");
    }

    #[test]
    fn who_has_the_keyboard_has_the_interrupts() {
        let interrupts = Interrupts::new(|| {});
        interrupts.begin();
        interrupts.lend_keyboard(true);
        assert!(!interrupts.interrupt() && !interrupts.interrupt());
        interrupts.lend_keyboard(false);
        assert!(interrupts.interrupt());
    }

    #[test]
    fn between_statements_an_interrupt_leaves_unless_in_a_shell() {
        let interrupts = Interrupts::new(|| panic!("nothing runs"));
        assert!(interrupts.interrupt());
        interrupts.in_shell(None);
        assert!(!interrupts.interrupt() && !interrupts.interrupted());
        assert_eq!([interrupts.take_of_prompt(), interrupts.take_of_prompt()], [true, false]);
    }
}
