//! What happened, in order, as one number.
//!
//! Everything that a JobMaster is told and wants done goes in with all its fields; the executor's own hash over its
//! choices and the bytes that a run leaves on the disk are mixed in at its end. Two runs with the same hash took the
//! same steps.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex};

use flumen_cluster::extensions::JobObserver;
use flumen_control::{Action, Event};
use flumen_core::ids::{CheckpointId, JobId};
use flumen_gateway::ClientEvent;
use flumen_io::{Clock, SimulatedClock};

/// Counts of what a run went through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Restarts of the job, or of parts of it, within a process.
    pub(crate) restarts: u32,
    /// Of these, from a checkpoint.
    pub(crate) restores: u32,
    /// Checkpoints that became complete.
    pub(crate) checkpoints: u32,
    /// Checkpoints that were given up.
    pub(crate) checkpoints_aborted: u32,
    /// The last one that became complete.
    pub(crate) last_complete: Option<(JobId, CheckpointId)>,
}

struct State {
    hash: u64,
    counts: Counts,
}

/// See the module.
pub(crate) struct Trace {
    clock: Arc<SimulatedClock>,
    state: Mutex<State>,
    is_told: bool,
}

/// FNV-1a over what is written.
struct Hasher(u64);

impl Hasher {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

impl Write for Hasher {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

impl Trace {
    pub(crate) fn new(clock: Arc<SimulatedClock>) -> Self {
        let is_told = std::env::var_os("FLUMEN_SIM_LOG").is_some();
        Self { clock, state: Mutex::new(State { hash: 0xcbf2_9ce4_8422_2325, counts: Counts::default() }), is_told }
    }

    /// Adds something.
    pub(crate) fn note(&self, what: &dyn fmt::Debug) {
        let mut state = self.state.lock().unwrap();
        let mut hasher = Hasher(state.hash);
        writeln!(hasher, "{} {what:?}", self.clock.now()).unwrap();
        state.hash = hasher.0;
        drop(state);
        if self.is_told {
            let mut text = format!("{what:?}");
            if text.len() > 400 {
                text.truncate((0..=400).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
            }
            eprintln!("{} {text}", self.clock.now());
        }
    }

    /// Adds bytes.
    pub(crate) fn note_bytes(&self, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap();
        let mut hasher = Hasher(state.hash);
        hasher.bytes(bytes);
        state.hash = hasher.0;
    }

    pub(crate) fn hash(&self) -> u64 {
        self.state.lock().unwrap().hash
    }

    pub(crate) fn counts(&self) -> Counts {
        self.state.lock().unwrap().counts.clone()
    }

    fn count(&self, event: &ClientEvent) {
        let counts = &mut self.state.lock().unwrap().counts;
        match event {
            ClientEvent::Restarting { restore, .. } => {
                counts.restarts += 1;
                counts.restores += u32::from(restore.is_some());
            }
            ClientEvent::CheckpointCompleted { job, summary } => {
                counts.checkpoints += 1;
                counts.last_complete = Some((*job, summary.checkpoint));
            }
            ClientEvent::CheckpointAborted { .. } => counts.checkpoints_aborted += 1,
            _ => {}
        }
    }
}

impl JobObserver for Trace {
    fn event(&self, _job: JobId, event: &Event) {
        self.note(event);
    }

    fn action(&self, _job: JobId, action: &Action) {
        if let Action::Notify(event) = action {
            self.count(event);
        }
        self.note(action);
    }
}
