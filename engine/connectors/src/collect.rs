//! Hands rows to a client in the same process: `'connector' = 'collect'`, option `id`.
//!
//! The client opens a stream in the [`CollectRegistry`] before it submits the job; writers of the job find it by its
//! id. Between them is a queue that is bounded by batches and bytes: a writer whose queue is full answers `Waiting`,
//! and the client wakes it when it takes a batch. The stream ends when every writer has ended. A client that drops its
//! stream cancels: writers drop what comes and their job may be stopped by whoever started it. How a job fails is told
//! by the session, not here.
//!
//! A task that restarts gives its rows again. As long as the client has taken nothing, those of the former attempt are
//! thrown away and the client sees each row once; afterwards a restart is refused, and the query fails.
//!
//! Threads: writers on task workers, one client on a thread of its own or polled with a waker; one lock per batch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use flumen_core::batch::Batch;
use flumen_core::failure::Failure;
use flumen_core::ids::SubtaskIndex;
use flumen_core::sink::{SinkConnector, SinkWriter, WriterContext, WriterStatus};
use flumen_core::spec::connector::SinkSpec;
use flumen_core::types::Schema;
use flumen_core::waiting::Waker;

use crate::error::{ConnectorError, Result};
use crate::options::OptionReader;

const NAME: &str = "collect";

/// How much may wait for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectCapacity {
    /// Batches.
    pub batches: usize,
    /// Bytes that the batches keep alive. One batch is always taken, whatever its size.
    pub bytes: usize,
}

impl Default for CollectCapacity {
    fn default() -> Self {
        Self { batches: 64, bytes: 32 << 20 }
    }
}

/// Streams by id.
#[derive(Clone, Default)]
pub struct CollectRegistry {
    streams: Arc<Mutex<BTreeMap<String, Weak<Shared>>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Signalled when a batch comes or the stream ends.
    changed: Condvar,
    capacity: CollectCapacity,
}

struct Queued {
    batch: Batch,
    bytes: usize,
    writer: SubtaskIndex,
}

#[derive(Default)]
struct Queue {
    batches: VecDeque<Queued>,
    bytes: usize,
    /// The client has taken a batch.
    is_tapped: bool,
    /// Writers that have begun, each with the number of its attempt (as counted here) and whether that has ended.
    writers: BTreeMap<SubtaskIndex, (u64, bool)>,
    writers_expected: Option<u32>,
    /// Writers to wake when there is room.
    waiting: Vec<Waker>,
    client: Option<Waker>,
    is_closed: bool,
    is_cancelled: bool,
}

impl Queue {
    fn has_ended(&self) -> bool {
        let ended = self.writers.values().filter(|(_, has_ended)| *has_ended).count();
        self.is_closed || self.writers_expected.is_some_and(|expected| ended >= expected as usize)
    }

    fn take(&mut self) -> Option<Batch> {
        let queued = self.batches.pop_front()?;
        self.is_tapped = true;
        self.bytes -= queued.bytes;
        Some(queued.batch)
    }

    /// A writer begins: the number of its attempt, or `None` if it would repeat what the client has.
    fn begin(&mut self, writer: SubtaskIndex) -> Option<u64> {
        let attempt = match self.writers.get(&writer) {
            Some(_) if self.is_tapped => return None,
            Some((former, _)) => former + 1,
            None => 0,
        };
        self.batches.retain(|queued| queued.writer != writer);
        self.bytes = self.batches.iter().map(|queued| queued.bytes).sum();
        self.writers.insert(writer, (attempt, false));
        Some(attempt)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the client that something has changed.
    fn notify(&self, mut queue: MutexGuard<'_, Queue>) {
        let client = queue.client.take();
        drop(queue);
        self.changed.notify_all();
        if let Some(client) = client {
            client.wake();
        }
    }

    fn is_full(&self, queue: &Queue) -> bool {
        queue.batches.len() >= self.capacity.batches || (queue.bytes >= self.capacity.bytes && queue.bytes > 0)
    }
}

fn wake_all(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

impl CollectRegistry {
    /// A stream for the job whose collect sink has this id.
    ///
    /// # Errors
    /// If there is a stream with this id already.
    pub fn open(&self, id: &str, capacity: CollectCapacity) -> Result<CollectStream, Failure> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|_, stream| stream.strong_count() > 0);
        if streams.contains_key(id) {
            return Err(Failure::bug(format!("there is a result stream {id:?} already")));
        }
        let shared = Arc::new(Shared { queue: Mutex::default(), changed: Condvar::new(), capacity });
        streams.insert(id.to_owned(), Arc::downgrade(&shared));
        Ok(CollectStream { shared })
    }

    fn find(&self, id: &str) -> Option<Arc<Shared>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).get(id).and_then(Weak::upgrade)
    }
}

/// The client's end. Dropping it cancels.
pub struct CollectStream {
    shared: Arc<Shared>,
}

impl CollectStream {
    /// The next batch if one is there; `Ready(None)` at the end. Otherwise `waker` is called when that changes.
    pub fn poll_next(&self, waker: &Waker) -> Poll<Option<Batch>> {
        let mut queue = self.shared.lock();
        match queue.take() {
            Some(batch) => {
                let waiting = std::mem::take(&mut queue.waiting);
                drop(queue);
                wake_all(waiting);
                Poll::Ready(Some(batch))
            }
            None if queue.has_ended() => Poll::Ready(None),
            None => {
                queue.client = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// Waits for the next batch; `None` at the end. Never called on a worker.
    #[must_use]
    pub fn next_blocking(&self) -> Option<Batch> {
        loop {
            if let Poll::Ready(next) = self.next_timeout(Duration::from_secs(3600)) {
                return next;
            }
        }
    }

    /// As [`CollectStream::next_blocking`], but `Pending` if nothing came in time, so that the caller can look after
    /// its job.
    pub fn next_timeout(&self, timeout: Duration) -> Poll<Option<Batch>> {
        let queue = self.shared.lock();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(queue, timeout, |queue| queue.batches.is_empty() && !queue.has_ended());
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let next = queue.take();
        let waiting = std::mem::take(&mut queue.waiting);
        let has_ended = queue.has_ended();
        drop(queue);
        wake_all(waiting);
        match next {
            None if !has_ended => Poll::Pending,
            next => Poll::Ready(next),
        }
    }

    /// A handle that can end the stream from elsewhere, for instance when the job has failed.
    #[must_use]
    pub fn closer(&self) -> CollectCloser {
        CollectCloser { shared: Arc::downgrade(&self.shared) }
    }
}

impl Drop for CollectStream {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.is_cancelled = true;
        queue.batches.clear();
        queue.bytes = 0;
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queue);
        wake_all(waiting);
    }
}

/// Ends a stream from elsewhere.
#[derive(Clone)]
pub struct CollectCloser {
    shared: Weak<Shared>,
}

impl CollectCloser {
    /// No batch follows those that are there.
    pub fn close(&self) {
        if let Some(shared) = self.shared.upgrade() {
            let mut queue = shared.lock();
            queue.is_closed = true;
            shared.notify(queue);
        }
    }
}

/// Hands rows to a client.
#[derive(Clone, Default)]
pub struct CollectSink {
    registry: CollectRegistry,
}

impl CollectSink {
    /// A sink whose clients wait in `registry`.
    #[must_use]
    pub fn new(registry: CollectRegistry) -> Self {
        Self { registry }
    }
}

fn stream_id(options: &BTreeMap<String, String>) -> Result<String> {
    let reader = OptionReader::new(NAME, options);
    let id = reader.required("id", "the stream that a client has opened")?.to_owned();
    reader.finish()?;
    Ok(id)
}

impl SinkConnector for CollectSink {
    fn name(&self) -> &'static str {
        NAME
    }

    fn validate(&self, options: &BTreeMap<String, String>, _schema: &Schema) -> Result<(), Failure> {
        stream_id(options)?;
        Ok(())
    }

    fn create_writer(
        &self,
        spec: &SinkSpec,
        _schema: &Arc<Schema>,
        context: WriterContext,
    ) -> Result<Box<dyn SinkWriter>, Failure> {
        let id = stream_id(&spec.options)?;
        let Some(shared) = self.registry.find(&id) else {
            let problem = "no client of this process waits for it, or it is gone".to_owned();
            let (connector, option) = (NAME, "id".to_owned());
            return Err(ConnectorError::WrongOption { connector, option, value: id, problem }.into());
        };
        let attempt = {
            let mut queue = shared.lock();
            queue.writers_expected = Some(context.parallelism);
            let Some(attempt) = queue.begin(context.subtask) else {
                return Err(Failure::user(
                    "the query would have to start again, but rows of it have been given out already; run it again",
                ));
            };
            attempt
        };
        Ok(Box::new(CollectWriter { shared, waker: context.waker, subtask: context.subtask, attempt }))
    }
}

struct CollectWriter {
    shared: Arc<Shared>,
    waker: Waker,
    subtask: SubtaskIndex,
    attempt: u64,
}

impl CollectWriter {
    /// Whether nobody wants its rows: the client has gone, or a later attempt has begun.
    fn is_idle(&self, queue: &Queue) -> bool {
        queue.is_cancelled || queue.writers.get(&self.subtask).is_none_or(|(attempt, _)| *attempt != self.attempt)
    }
}

impl SinkWriter for CollectWriter {
    fn write(&mut self, batch: Batch) -> Result<WriterStatus, Failure> {
        let mut queue = self.shared.lock();
        if self.is_idle(&queue) {
            return Ok(WriterStatus::Ready);
        }
        let bytes = batch.memory_size();
        queue.bytes += bytes;
        queue.batches.push_back(Queued { batch, bytes, writer: self.subtask });
        let is_full = self.shared.is_full(&queue);
        if is_full {
            queue.waiting.push(self.waker.clone());
        }
        self.shared.notify(queue);
        Ok(if is_full { WriterStatus::Waiting } else { WriterStatus::Ready })
    }

    fn poll_ready(&mut self) -> Result<WriterStatus, Failure> {
        let mut queue = self.shared.lock();
        if self.is_idle(&queue) || !self.shared.is_full(&queue) {
            return Ok(WriterStatus::Ready);
        }
        if !queue.waiting.iter().any(|w| w.will_wake(&self.waker)) {
            queue.waiting.push(self.waker.clone());
        }
        Ok(WriterStatus::Waiting)
    }

    fn flush(&mut self, end_of_input: bool) -> Result<WriterStatus, Failure> {
        // Rows in the queue are in the client's process and memory: they are out of the writer's hands.
        if end_of_input {
            let mut queue = self.shared.lock();
            if !self.is_idle(&queue) {
                queue.writers.insert(self.subtask, (self.attempt, true));
            }
            self.shared.notify(queue);
        }
        Ok(WriterStatus::Ready)
    }
}

#[cfg(test)]
mod tests {
    use flumen_core::batch::Column;
    use flumen_core::types::{Field, LogicalType};

    use super::*;
    use crate::testing::{options, writer_context};

    fn batch(rows: i64) -> Batch {
        let schema = Arc::new(Schema::new(vec![Field::new("v", LogicalType::Int64, false)]));
        let column = Column::Array(Arc::new(arrow_array::Int64Array::from_iter_values(0..rows)));
        Batch::new(schema, vec![column], rows as usize)
    }

    fn writer(sink: &CollectSink, subtask: u32) -> Result<Box<dyn SinkWriter>, Failure> {
        let spec = SinkSpec { connector: NAME.to_owned(), options: options(&[("id", "q")]) };
        sink.create_writer(&spec, batch(1).schema(), writer_context(subtask, 2))
    }

    fn taken(stream: &CollectStream) -> Vec<usize> {
        let mut rows = Vec::new();
        while let Poll::Ready(Some(batch)) = stream.next_timeout(Duration::ZERO) {
            rows.push(batch.num_rows());
        }
        rows
    }

    #[test]
    fn what_a_restarted_writer_repeats_is_seen_once() {
        let registry = CollectRegistry::default();
        let sink = CollectSink::new(registry.clone());
        let stream = registry.open("q", CollectCapacity::default()).unwrap();
        let (mut first, mut other) = (writer(&sink, 0).unwrap(), writer(&sink, 1).unwrap());
        let _ = first.write(batch(1)).unwrap();
        let _ = first.flush(true).unwrap();
        let _ = other.write(batch(2)).unwrap();
        // Subtask 0 fails after its end was reported; what its former attempt still says does not count.
        let mut again = writer(&sink, 0).unwrap();
        let _ = first.write(batch(3)).unwrap();
        let _ = other.flush(true).unwrap();
        let _ = first.flush(true).unwrap();
        let _ = again.write(batch(4)).unwrap();
        assert_eq!(taken(&stream), [2, 4]);
        assert!(matches!(stream.next_timeout(Duration::ZERO), Poll::Pending), "subtask 0 has not ended");
        let _ = again.flush(true).unwrap();
        assert!(matches!(stream.next_timeout(Duration::ZERO), Poll::Ready(None)));
    }

    #[test]
    fn a_restart_after_rows_were_taken_is_refused() {
        let registry = CollectRegistry::default();
        let sink = CollectSink::new(registry.clone());
        let stream = registry.open("q", CollectCapacity::default()).unwrap();
        let _ = writer(&sink, 0).unwrap().write(batch(1)).unwrap();
        assert_eq!(taken(&stream), [1]);
        let error = writer(&sink, 0).err().unwrap();
        assert_eq!(error.failure_kind(), flumen_core::failure::FailureKind::User);
        assert!(error.to_string().contains("given out"), "{error}");
        assert!(writer(&sink, 1).is_ok(), "one that begins for the first time repeats nothing");
    }
}
