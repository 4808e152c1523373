//! A task: one chain of operators for one subtask, as a resumable machine.
//!
//! The life of a task:
//!
//! 1. *opening*: its operators are restored and opened where waiting is allowed, and arrive by mail;
//! 2. *running*: mail, timers, then input (or the source) in turn, each worked off by the chain before the next;
//! 3. *ended*: all data is processed and flushed; if the job wants a final checkpoint, the task stays until one that
//!    covers its end is complete;
//! 4. over: finished, failed or cancelled, reported once through [`TaskHooks`], and dropped.
//!
//! Everything that reaches it is mail or input, so its state needs no lock. An operator that panics fails the task, not
//! the process: the step is unwound, the task reports a failure of kind `Bug` and is dropped.

mod input;
mod mailbox;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::collections::{BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Waker;

use flumen_core::element::{CheckpointBarrier, StopMode, StreamElement};
use flumen_core::failure::Failure;
use flumen_core::ids::{CheckpointId, OperatorUid};
use flumen_core::source::RuntimeFilter;
use flumen_core::time::{EventTime, WatermarkStatus};
use flumen_core::waiting::TimerService;
use flumen_io::{Clock, MonotonicTime};
use flumen_state::OperatorSnapshot;

use crate::barrier_aligner::{AlignmentAction, BarrierAligner};
use crate::chain::{ChainStatus, OperatorChain};
use crate::executor::{Runnable, TaskStep};
use crate::watermark_valve::{ValveOutput, WatermarkValve};
use input::{Inputs, Received};
use mailbox::Mailbox;

pub use input::ElementReader;
pub use mailbox::{Mail, MailboxSender};

/// What a task reports. Called by the worker that steps it; must not wait.
pub trait TaskHooks: Send + Sync {
    /// The operators are open and the task reads.
    fn running(&self);
    /// All data is processed; the task stays only for the final checkpoint.
    fn end_of_data(&self);
    /// Everything is done.
    fn finished(&self);
    /// It ended with an error.
    fn failed(&self, failure: Failure);
    /// It was cancelled.
    fn cancelled(&self);
    /// A barrier has passed; the snapshots are to be written and acknowledged.
    fn snapshot_taken(&self, barrier: CheckpointBarrier, snapshots: Vec<(OperatorUid, OperatorSnapshot)>);
    /// This task cannot take part in the checkpoint.
    fn decline_checkpoint(&self, checkpoint: CheckpointId, reason: &str);
    /// A source wants a split.
    fn request_split(&self, uid: &OperatorUid);
    /// A join has published a filter for scans.
    fn publish_filter(&self, filter: u32, bounds: RuntimeFilter);
}

/// What a task is made of.
pub struct TaskSetup {
    /// Gates, each with the head's input that it feeds; none for sources.
    pub inputs: Vec<(usize, Box<dyn ElementReader>)>,
    /// Where it reports.
    pub hooks: Arc<dyn TaskHooks>,
    /// Clock for timers and flushes.
    pub clock: Arc<dyn Clock>,
    /// Wakes it when a time has come.
    pub timers: Arc<dyn TimerService>,
    /// Stay after the end of data until a checkpoint that covers it is complete.
    pub final_checkpoint: bool,
}

/// What is to be given to the chain next.
enum Pending {
    Element(usize, StreamElement),
    EndInput(usize),
    EndOfData(StopMode),
}

/// A task.
pub struct Task {
    chain: Option<OperatorChain>,
    inputs: Inputs,
    is_source: bool,
    mailbox: Mailbox,
    mail: VecDeque<Mail>,
    pending: VecDeque<Pending>,
    valve: WatermarkValve,
    aligner: BarrierAligner,
    hooks: Arc<dyn TaskHooks>,
    clock: Arc<dyn Clock>,
    timers: Arc<dyn TimerService>,
    waker: Waker,
    /// The earliest wake-up that was asked for and has not passed.
    alarm: Option<MonotonicTime>,
    requested: BTreeSet<OperatorUid>,
    final_checkpoint: bool,
    /// The first checkpoint whose barrier passed after the end of data.
    covering: Option<CheckpointId>,
    end_reported: bool,
    /// The end of data has been reported.
    told_end: bool,
    /// `EndOfPartition` has been written.
    closing: bool,
    source_stop: Option<StopMode>,
}

impl Task {
    /// A task that waits for [`Mail::Opened`]; `waker` makes it run.
    #[must_use]
    pub fn new(setup: TaskSetup, waker: Waker) -> (MailboxSender, Self) {
        let (sender, mailbox) = Mailbox::new(waker.clone());
        let inputs = Inputs::new(setup.inputs);
        let task = Self {
            chain: None,
            is_source: inputs.is_empty(),
            valve: WatermarkValve::new(inputs.channels()),
            aligner: BarrierAligner::new(inputs.channels()),
            inputs,
            mailbox,
            mail: VecDeque::new(),
            pending: VecDeque::new(),
            hooks: setup.hooks,
            clock: setup.clock,
            timers: setup.timers,
            waker,
            alarm: None,
            requested: BTreeSet::new(),
            final_checkpoint: setup.final_checkpoint,
            covering: None,
            end_reported: false,
            told_end: false,
            closing: false,
            source_stop: None,
        };
        (sender, task)
    }

    fn run(&mut self, budget: &mut usize) -> Result<TaskStep, Failure> {
        loop {
            self.mailbox.take(&mut self.mail);
            if let Some(step) = self.urgent_mail()? {
                return Ok(step);
            }
            let Some(chain) = self.chain.as_mut() else { return Ok(TaskStep::Blocked) };
            let mut blocked = false;
            match chain.run(budget)? {
                ChainStatus::Idle => {}
                ChainStatus::Ran => return Ok(TaskStep::Ran),
                ChainStatus::Blocked(_) if chain.is_idle() => blocked = true,
                ChainStatus::Blocked(_) => return self.wait(false),
            }
            self.report();
            if self.finish_if_ended()? {
                return Ok(TaskStep::Finished);
            }
            if self.give_pending() || self.idle_mail()? || self.fire_timers() {
                continue;
            }
            if self.end_reported || self.closing || blocked {
                return self.wait(true);
            }
            if *budget == 0 {
                return Ok(TaskStep::Ran);
            }
            if !self.read()? {
                return self.wait(true);
            }
        }
    }

    /// Mail that is handled whatever the chain is doing.
    fn urgent_mail(&mut self) -> Result<Option<TaskStep>, Failure> {
        let mut index = 0;
        while index < self.mail.len() {
            match &self.mail[index] {
                Mail::Cancel => {
                    self.hooks.cancelled();
                    return Ok(Some(TaskStep::Finished));
                }
                // Whoever waits for the memory may be why this chain is blocked, so it is asked in the middle of its work.
                Mail::RevokeMemory(bytes) if self.chain.is_some() => {
                    let bytes = *bytes;
                    self.mail.remove(index);
                    if let Some(chain) = &mut self.chain {
                        chain.revoke_memory(bytes)?;
                    }
                }
                Mail::Opened(_) | Mail::Fail(_) => match self.mail.remove(index) {
                    Some(Mail::Opened(chain)) => {
                        self.chain = Some(chain?);
                        self.hooks.running();
                    }
                    Some(Mail::Fail(failure)) => return Err(failure),
                    _ => {}
                },
                _ => index += 1,
            }
        }
        Ok(None)
    }

    /// Takes one mail that needs the chain to be idle; whether there was one.
    fn idle_mail(&mut self) -> Result<bool, Failure> {
        let Some(chain) = self.chain.as_mut() else { return Ok(false) };
        let Some(mail) = self.mail.pop_front() else { return Ok(false) };
        match mail {
            Mail::TriggerCheckpoint(barrier) => {
                // Sources begin a checkpoint, and so does a task whose producers have all finished.
                chain.push(0, StreamElement::Barrier(barrier));
            }
            Mail::CheckpointComplete(checkpoint) => {
                chain.checkpoint_complete(checkpoint);
                if self.covering.is_some_and(|covering| checkpoint >= covering) {
                    self.final_checkpoint = false;
                }
            }
            Mail::CheckpointAborted(checkpoint) => {
                chain.checkpoint_aborted(checkpoint);
                let actions = self.aligner.aborted(checkpoint);
                self.align(actions);
            }
            Mail::AssignSplits { uid, splits, last } => {
                self.requested.remove(&uid);
                chain.assign_splits(&uid, splits, last)?;
            }
            Mail::RuntimeFilter(filter, bounds) => chain.runtime_filter(filter, &bounds),
            Mail::Stop(mode) => self.source_stop = Some(mode),
            Mail::Opened(_) | Mail::Cancel | Mail::Fail(_) | Mail::RevokeMemory(_) => {}
        }
        Ok(true)
    }

    /// Gives the next pending element to the chain; whether there was one.
    fn give_pending(&mut self) -> bool {
        let (Some(chain), Some(pending)) = (self.chain.as_mut(), self.pending.pop_front()) else { return false };
        match pending {
            Pending::Element(input, element) => chain.push(input, element),
            Pending::EndInput(input) => chain.end_input(input),
            Pending::EndOfData(mode) => chain.end_of_data(mode),
        }
        true
    }

    fn fire_timers(&mut self) -> bool {
        let Some(chain) = self.chain.as_mut() else { return false };
        let Some(at) = chain.next_timer() else { return false };
        let now = EventTime(self.clock.wall_millis());
        if at > now {
            return false;
        }
        chain.fire_timers(now);
        true
    }

    /// Reads the next element, or asks the source for it; whether there is something to do.
    fn read(&mut self) -> Result<bool, Failure> {
        let Some(chain) = self.chain.as_mut() else { return Ok(false) };
        let satisfied = chain.is_satisfied();
        if self.is_source {
            let ended = chain.source_ended() || satisfied;
            match self.source_stop.or(ended.then_some(StopMode::Drain)) {
                Some(mode) => {
                    self.end_reported = true;
                    chain.end_source(mode);
                }
                None => chain.produce(),
            }
            return Ok(true);
        }
        if satisfied {
            for input in self.inputs.open_inputs() {
                self.pending.push_back(Pending::EndInput(input));
            }
            self.inputs.close();
            self.pending.push_back(Pending::EndOfData(StopMode::Drain));
            self.end_reported = true;
            return Ok(true);
        }
        let selection = chain.input_selection();
        match self.inputs.poll(selection)? {
            Some(received) => self.receive(received).map(|()| true),
            None => Ok(false),
        }
    }

    fn receive(&mut self, Received { input, channel, element }: Received) -> Result<(), Failure> {
        match element {
            StreamElement::Watermark(watermark) => {
                let output = self.valve.watermark(channel, watermark);
                self.combined(output);
            }
            StreamElement::WatermarkStatus(status) => {
                let output = self.valve.status(channel, status);
                self.combined(output);
            }
            StreamElement::Barrier(barrier) => {
                let actions = self.aligner.barrier(channel, barrier);
                self.align(actions);
            }
            StreamElement::EndOfData(mode) => {
                let output = self.valve.status(channel, WatermarkStatus::Finished);
                self.combined(output);
                if self.inputs.end_of_data(channel, mode) {
                    self.pending.push_back(Pending::EndInput(input));
                }
                if let Some(mode) = self.inputs.all_data_ended() {
                    self.pending.push_back(Pending::EndOfData(mode));
                    // Barriers of the final checkpoint still come from the gates.
                }
            }
            StreamElement::EndOfPartition => {
                self.inputs.end_of_partition(channel)?;
                let actions = self.aligner.end_of_partition(channel);
                self.align(actions);
            }
            other => self.pending.push_back(Pending::Element(input, other)),
        }
        Ok(())
    }

    fn combined(&mut self, output: ValveOutput) {
        if let Some(watermark) = output.watermark {
            self.pending.push_back(Pending::Element(0, StreamElement::Watermark(watermark)));
        }
        // "Finished" is told by the end of data.
        if let Some(status) = output.status.filter(|s| *s != WatermarkStatus::Finished) {
            self.pending.push_back(Pending::Element(0, StreamElement::WatermarkStatus(status)));
        }
    }

    fn align(&mut self, actions: Vec<AlignmentAction>) {
        for action in actions {
            match action {
                AlignmentAction::Block(channel) => self.inputs.block(channel),
                AlignmentAction::Unblock(channels) => channels.into_iter().for_each(|c| self.inputs.unblock(c)),
                AlignmentAction::Snapshot(barrier) => {
                    self.pending.push_back(Pending::Element(0, StreamElement::Barrier(barrier)));
                }
                AlignmentAction::Abort(checkpoint) => {
                    if let Some(chain) = self.chain.as_mut() {
                        chain.checkpoint_aborted(checkpoint);
                    }
                    self.hooks.decline_checkpoint(checkpoint, "a newer checkpoint overtook it");
                }
            }
        }
    }

    /// Passes on what the chain has produced for others than its consumers.
    fn report(&mut self) {
        let Some(chain) = self.chain.as_mut() else { return };
        if let Some((barrier, snapshots)) = chain.take_snapshots() {
            if chain.has_ended().is_some() {
                self.covering.get_or_insert(barrier.id);
            }
            self.hooks.snapshot_taken(barrier, snapshots);
        }
        for (filter, bounds) in chain.take_runtime_filters() {
            self.hooks.publish_filter(filter, bounds);
        }
        for uid in chain.wants_splits() {
            if !self.requested.contains(uid) {
                self.requested.insert(uid.clone());
                self.hooks.request_split(uid);
            }
        }
    }

    /// Ends the partitions once all is done; whether the task is over.
    fn finish_if_ended(&mut self) -> Result<bool, Failure> {
        let Some(chain) = self.chain.as_mut() else { return Ok(false) };
        if chain.has_ended().is_none() || !self.pending.is_empty() {
            return Ok(false);
        }
        if !std::mem::replace(&mut self.told_end, true) {
            self.hooks.end_of_data();
        }
        if self.final_checkpoint {
            return Ok(false);
        }
        if !std::mem::replace(&mut self.closing, true) {
            self.inputs.close();
            for writer in chain.writers_mut() {
                writer.write(StreamElement::EndOfPartition)?;
            }
        }
        for writer in chain.writers_mut() {
            if !writer.is_settled()? {
                return Ok(false);
            }
        }
        self.hooks.finished();
        Ok(true)
    }

    /// Sends what must not wait longer and sees to it that the task is woken in time.
    fn wait(&mut self, idle: bool) -> Result<TaskStep, Failure> {
        let Some(chain) = self.chain.as_mut() else { return Ok(TaskStep::Blocked) };
        let now = self.clock.now();
        if self.alarm.is_some_and(|alarm| alarm <= now) {
            self.alarm = None;
        }
        let mut next = chain.next_timer().map(|at| {
            let millis = at.0.saturating_sub(self.clock.wall_millis()).max(0);
            now.after(std::time::Duration::from_millis(millis as u64))
        });
        for writer in chain.writers_mut() {
            writer.flush_due(now, idle)?;
            next = match (next, writer.next_flush()) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        if let Some(next) = next
            && self.alarm.is_none_or(|alarm| next < alarm)
        {
            self.alarm = Some(next);
            self.timers.wake_at(next, self.waker.clone());
        }
        Ok(TaskStep::Blocked)
    }
}

/// A panic as a failure, with its message.
pub(crate) fn panicked(what: &str, panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().copied();
    let message = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    Failure::bug(format!("{what}: {message}"))
}

impl Runnable for Task {
    fn step(&mut self, budget: usize) -> TaskStep {
        let mut budget = budget;
        match std::panic::catch_unwind(AssertUnwindSafe(|| self.run(&mut budget))) {
            Ok(Ok(step)) => step,
            Ok(Err(failure)) => {
                self.hooks.failed(failure);
                TaskStep::Finished
            }
            Err(panic) => {
                self.hooks.failed(panicked("an operator panicked", panic.as_ref()));
                TaskStep::Finished
            }
        }
    }

    fn is_source(&self) -> bool {
        self.is_source
    }
}
