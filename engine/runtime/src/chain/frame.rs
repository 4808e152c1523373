//! What one level of the chain is doing: the calls it still has to make, and the element it is passing on.

use std::collections::VecDeque;

use flumen_core::batch::Batch;
use flumen_core::element::{CheckpointBarrier, StopMode, StreamElement};
use flumen_core::ids::CheckpointId;
use flumen_core::time::{EventTime, Watermark};

/// A call of the operator contract.
pub(super) enum Call {
    Process(usize, Batch),
    Resume,
    Produce,
    Watermark(Watermark),
    Timer(EventTime),
    EndOfInput(usize),
    Finish,
    PrepareSnapshot(CheckpointId),
    CheckpointComplete(CheckpointId),
}

/// One thing that a level does, in order.
pub(super) enum Action {
    /// Call the operator, and pass on all it gives until the call is done.
    Call(Call),
    /// Pass on this element.
    Forward(StreamElement),
    /// Pass on what the operator makes of the input's watermark.
    ForwardWatermark(Watermark),
    /// Take the operator's state.
    Snapshot(CheckpointBarrier),
}

/// Where a level stands.
pub(super) enum Phase {
    /// Take the next action.
    Next,
    /// Continue the operator's last call.
    Resume,
    /// Pass an element to consumer `position` and those after it, then go on to `Resume` or `Next`.
    Deliver { element: Option<StreamElement>, position: usize, resume: bool },
}

/// One level of the stack.
pub(super) struct Frame {
    pub(super) link: usize,
    pub(super) phase: Phase,
    /// The call under way is `produce`.
    pub(super) producing: bool,
    actions: VecDeque<Action>,
}

impl Frame {
    pub(super) fn new(link: usize, actions: impl IntoIterator<Item = Action>) -> Self {
        Self { link, phase: Phase::Next, producing: false, actions: actions.into_iter().collect() }
    }

    /// What an element asks of the operator that it reaches.
    pub(super) fn for_element(link: usize, input: usize, element: StreamElement) -> Self {
        match element {
            StreamElement::Batch(batch) => Self::new(link, [Action::Call(Call::Process(input, batch))]),
            StreamElement::Watermark(watermark) => {
                Self::new(link, [Action::Call(Call::Watermark(watermark)), Action::ForwardWatermark(watermark)])
            }
            StreamElement::Barrier(barrier) => Self::new(
                link,
                [
                    Action::Call(Call::PrepareSnapshot(barrier.id)),
                    Action::Snapshot(barrier.clone()),
                    Action::Forward(StreamElement::Barrier(barrier)),
                ],
            ),
            StreamElement::EndOfData(mode) => {
                let mut frame = Self::end_of_data(link, mode);
                frame.prepend(Action::Call(Call::EndOfInput(input)));
                frame
            }
            other => Self::new(link, [Action::Forward(other)]),
        }
    }

    /// All inputs of the operator have ended.
    pub(super) fn end_of_data(link: usize, mode: StopMode) -> Self {
        let forward = Action::Forward(StreamElement::EndOfData(mode));
        match mode {
            StopMode::Drain => Self::new(link, [Action::Call(Call::Finish), forward]),
            StopMode::NoDrain => Self::new(link, [forward]),
        }
    }

    pub(super) fn prepend(&mut self, action: Action) {
        self.actions.push_front(action);
    }

    pub(super) fn put_back(&mut self, action: Action) {
        self.actions.push_front(action);
    }

    pub(super) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Starts to pass on an element; `resume` if the call that gave it is not complete.
    pub(super) fn deliver(&mut self, element: StreamElement, resume: bool) {
        self.phase = Phase::Deliver { element: Some(element), position: 0, resume };
    }

    /// The element being passed on: itself to the last consumer, a (shallow) copy to the others.
    pub(super) fn element(&mut self, is_last: bool) -> StreamElement {
        let Phase::Deliver { element, .. } = &mut self.phase else { unreachable!("an element is being passed on") };
        let element = if is_last { element.take() } else { element.clone() };
        element.expect("it is taken for the last consumer only")
    }

    pub(super) fn delivered(&mut self) {
        if let Phase::Deliver { resume, .. } = self.phase {
            self.phase = if resume { Phase::Resume } else { Phase::Next };
        }
    }
}
