//! Hands rows to a client in the same process: `'connector' = 'collect'`, option `id`.
//!
//! The client opens a stream in the [`CollectRegistry`] before it submits the job; writers of the job find it by its
//! id. Between them is a queue that is bounded by batches and bytes: a writer whose queue is full answers `Waiting`,
//! and the client wakes it when it takes a batch. The stream ends when every writer has ended. A client that drops its
//! stream cancels: writers drop what comes and their job may be stopped by whoever started it. How a job fails is told
//! by the session, not here.
//!
//! Threads: writers on task workers, one client on a thread of its own or polled with a waker; one lock per batch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use flumen_core::batch::Batch;
use flumen_core::failure::Failure;
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

#[derive(Default)]
struct Queue {
    batches: VecDeque<(Batch, usize)>,
    bytes: usize,
    /// Writers that are at work, how many will be, and how many have ended.
    writers_ended: u32,
    writers_expected: Option<u32>,
    /// Writers to wake when there is room.
    waiting: Vec<Waker>,
    client: Option<Waker>,
    is_closed: bool,
    is_cancelled: bool,
}

impl Queue {
    fn has_ended(&self) -> bool {
        self.is_closed || self.writers_expected.is_some_and(|expected| self.writers_ended >= expected)
    }

    fn take(&mut self) -> Option<Batch> {
        let (batch, bytes) = self.batches.pop_front()?;
        self.bytes -= bytes;
        Some(batch)
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
        shared.lock().writers_expected = Some(context.parallelism);
        Ok(Box::new(CollectWriter { shared, waker: context.waker, has_ended: false }))
    }
}

struct CollectWriter {
    shared: Arc<Shared>,
    waker: Waker,
    has_ended: bool,
}

impl SinkWriter for CollectWriter {
    fn write(&mut self, batch: Batch) -> Result<WriterStatus, Failure> {
        let mut queue = self.shared.lock();
        if queue.is_cancelled {
            return Ok(WriterStatus::Ready);
        }
        let bytes = batch.memory_size();
        queue.bytes += bytes;
        queue.batches.push_back((batch, bytes));
        let is_full = self.shared.is_full(&queue);
        if is_full {
            queue.waiting.push(self.waker.clone());
        }
        self.shared.notify(queue);
        Ok(if is_full { WriterStatus::Waiting } else { WriterStatus::Ready })
    }

    fn poll_ready(&mut self) -> Result<WriterStatus, Failure> {
        let mut queue = self.shared.lock();
        if queue.is_cancelled || !self.shared.is_full(&queue) {
            return Ok(WriterStatus::Ready);
        }
        if !queue.waiting.iter().any(|w| w.will_wake(&self.waker)) {
            queue.waiting.push(self.waker.clone());
        }
        Ok(WriterStatus::Waiting)
    }

    fn flush(&mut self, end_of_input: bool) -> Result<WriterStatus, Failure> {
        // Rows in the queue are in the client's process and memory: they are out of the writer's hands.
        if end_of_input && !std::mem::replace(&mut self.has_ended, true) {
            let mut queue = self.shared.lock();
            queue.writers_ended += 1;
            self.shared.notify(queue);
        }
        Ok(WriterStatus::Ready)
    }
}
