//! A task's inputs: gates, their channels numbered through, and what the channels have said so far.

use flumen_core::element::{StopMode, StreamElement};
use flumen_core::failure::Failure;
use flumen_operators::contract::InputSelection;

/// A gate, as the task sees it. The task's waker was given to it when it was made.
pub trait ElementReader: Send {
    /// Number of channels.
    fn channels(&self) -> usize;

    /// The next element of any channel that is not blocked, with the channel's index in this gate.
    ///
    /// # Errors
    /// If a channel has failed.
    fn poll_next(&mut self) -> Result<Option<(usize, StreamElement)>, Failure>;

    /// Does not deliver from this channel until it is unblocked.
    fn block(&mut self, channel: usize);

    /// Delivers from this channel again.
    fn unblock(&mut self, channel: usize);

    /// Nothing more is wanted; producers may stop.
    fn close(&mut self);
}

struct Gate {
    reader: Box<dyn ElementReader>,
    head_input: usize,
    first_channel: usize,
}

/// An element with where it came from.
pub(super) struct Received {
    pub(super) input: usize,
    pub(super) channel: usize,
    pub(super) element: StreamElement,
}

/// All gates of a task.
pub(super) struct Inputs {
    gates: Vec<Gate>,
    /// By channel, numbered through over gates.
    data_ended: Vec<bool>,
    partition_ended: Vec<bool>,
    mode: StopMode,
    /// Where the next poll starts, so that no gate starves another.
    turn: usize,
}

impl Inputs {
    pub(super) fn new(readers: Vec<(usize, Box<dyn ElementReader>)>) -> Self {
        let mut channels = 0;
        let gates = readers
            .into_iter()
            .map(|(head_input, reader)| {
                let first_channel = channels;
                channels += reader.channels();
                Gate { reader, head_input, first_channel }
            })
            .collect();
        Self {
            gates,
            data_ended: vec![false; channels],
            partition_ended: vec![false; channels],
            mode: StopMode::Drain,
            turn: 0,
        }
    }

    pub(super) fn channels(&self) -> usize {
        self.data_ended.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.gates.is_empty()
    }

    /// The next element that the head can use.
    pub(super) fn poll(&mut self, selection: InputSelection) -> Result<Option<Received>, Failure> {
        for _ in 0..self.gates.len() {
            let index = self.turn % self.gates.len();
            self.turn = (index + 1) % self.gates.len();
            let gate = &mut self.gates[index];
            // An input that has ended is read on whatever the selection: barriers and ends still come from it.
            if let InputSelection::Only(input) = selection
                && gate.head_input != input
                && !self.data_ended[gate.first_channel..gate.first_channel + gate.reader.channels()].iter().all(|e| *e)
            {
                continue;
            }
            if let Some((channel, element)) = gate.reader.poll_next()? {
                return Ok(Some(Received { input: gate.head_input, channel: gate.first_channel + channel, element }));
            }
        }
        Ok(None)
    }

    fn gate_of(&mut self, channel: usize) -> (&mut Gate, usize) {
        let index = self.gates.partition_point(|g| g.first_channel <= channel) - 1;
        let gate = &mut self.gates[index];
        let local = channel - gate.first_channel;
        (gate, local)
    }

    pub(super) fn block(&mut self, channel: usize) {
        let (gate, local) = self.gate_of(channel);
        gate.reader.block(local);
    }

    pub(super) fn unblock(&mut self, channel: usize) {
        let (gate, local) = self.gate_of(channel);
        gate.reader.unblock(local);
    }

    /// A channel's data ended; says whether its whole input did.
    pub(super) fn end_of_data(&mut self, channel: usize, mode: StopMode) -> bool {
        if std::mem::replace(&mut self.data_ended[channel], true) {
            return false;
        }
        if mode == StopMode::NoDrain {
            self.mode = StopMode::NoDrain;
        }
        let (gate, _) = self.gate_of(channel);
        let input = gate.head_input;
        self.input_ended(input)
    }

    fn input_ended(&self, input: usize) -> bool {
        self.gates
            .iter()
            .filter(|g| g.head_input == input)
            .all(|g| self.data_ended[g.first_channel..g.first_channel + g.reader.channels()].iter().all(|e| *e))
    }

    /// A channel ended; an error if its data had not.
    pub(super) fn end_of_partition(&mut self, channel: usize) -> Result<(), Failure> {
        self.partition_ended[channel] = true;
        if self.data_ended[channel] {
            Ok(())
        } else {
            Err(Failure::transient(format!("input channel {channel} ended before its data did")))
        }
    }

    /// Whether all data ended, and how.
    pub(super) fn all_data_ended(&self) -> Option<StopMode> {
        self.data_ended.iter().all(|e| *e).then_some(self.mode)
    }

    /// Inputs whose data has not ended.
    pub(super) fn open_inputs(&self) -> Vec<usize> {
        let mut inputs: Vec<usize> = self.gates.iter().map(|g| g.head_input).collect();
        inputs.sort_unstable();
        inputs.dedup();
        inputs.retain(|input| !self.input_ended(*input));
        inputs
    }

    /// Tells all producers that nothing more is wanted.
    pub(super) fn close(&mut self) {
        for gate in &mut self.gates {
            gate.reader.close();
        }
        self.data_ended.fill(true);
    }
}
