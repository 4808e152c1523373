//! A transport for tests that does what a network may do, but for losing things silently.
//!
//! Every batch becomes frames of few rows, every message bytes; the bytes arrive in pieces of any size, late, and in any
//! order across channels (never within one direction of one channel). A connection may break: then both ends learn of
//! it. What it does follows from its seed and from the order of calls; nothing happens but in [`HostileTransport::pump`],
//! which a test calls, or an executor ([`HostileTransport::run_on`]).
//!
//! Threading: `pump` holds no lock while it calls channels, whose calls lead back here (credits, listeners). One pump
//! runs at a time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use flumen_core::waiting::BlockingExecutor;
use flumen_io::{RandomSource, Rng};
use parking_lot::Mutex;

use super::remote::assembler::MessageAssembler;
use super::remote::inbound::{InboundChannel, InboundReader, ReturnPath};
use super::remote::message::{Body, Message};
use super::remote::outbound::OutboundChannel;
use super::{ChannelEndpoint, ChannelRequest, LocalTransport, PartitionLocation, Transport};
use crate::credit::CreditConfig;
use crate::credit::gate::{CreditLink, GateCredits};
use crate::error::{NetworkError, Result};
use crate::partition::{ChannelReader, DataListener};
use crate::registry::PartitionRegistry;

/// Messages that one outbound step may give.
const MESSAGES_PER_STEP: usize = 2;

/// How hostile.
#[derive(Clone, Copy, Debug)]
pub struct HostileOptions {
    /// Rows of a frame at most; each channel draws its own limit from 1 to this.
    pub rows_max: usize,
    /// Steps that a piece of bytes may be late.
    pub delay_steps_max: u64,
    /// Pieces that a message is cut into, at most.
    pub pieces_max: u64,
    /// Chance that a connection breaks, for each step.
    pub break_chance: f64,
    /// Steps that one run on an executor makes before it gives others a turn.
    pub steps_per_run: usize,
}

impl Default for HostileOptions {
    fn default() -> Self {
        Self { rows_max: 4096, delay_steps_max: 8, pieces_max: 3, break_chance: 0.0, steps_per_run: 1024 }
    }
}

/// See the module.
#[derive(Clone)]
pub struct HostileTransport {
    shared: Arc<Shared>,
}

struct Shared {
    this: Weak<Self>,
    local: LocalTransport,
    options: HostileOptions,
    net: Mutex<Net>,
    /// Held by the one pump that runs.
    pumping: Mutex<()>,
    driver: Mutex<Option<Arc<dyn BlockingExecutor>>>,
    /// A run is queued on the driver.
    scheduled: AtomicBool,
}

struct Net {
    rng: Rng,
    step: u64,
    connections: BTreeMap<u64, Connection>,
    next_channel: u64,
    broken: u64,
}

struct Connection {
    inbound: Arc<InboundChannel>,
    request: ChannelRequest,
    credits: CreditConfig,
    /// Absent until the request has arrived, after the end, and while a step has it.
    outbound: Option<OutboundChannel>,
    /// The outbound channel may have something to send.
    ready: bool,
    to_producer: Pipe,
    to_consumer: Pipe,
}

/// One direction: pieces of bytes with the step from which they may arrive.
#[derive(Default)]
struct Pipe {
    pieces: VecDeque<(u64, Vec<u8>)>,
    assembler: MessageAssembler,
}

impl HostileTransport {
    /// A transport to the partitions of `registry`.
    #[must_use]
    pub fn new(registry: Arc<PartitionRegistry>, seed: u64, options: HostileOptions) -> Self {
        let rng = Rng::stream(seed, "hostile transport");
        let net = Net { rng, step: 0, connections: BTreeMap::new(), next_channel: 0, broken: 0 };
        let shared = Arc::new_cyclic(|this| Shared {
            this: this.clone(),
            local: LocalTransport::new(registry),
            options,
            net: Mutex::new(net),
            pumping: Mutex::new(()),
            driver: Mutex::new(None),
            scheduled: AtomicBool::new(false),
        });
        Self { shared }
    }

    /// Lets an executor pump whenever there is something to do.
    pub fn run_on(&self, executor: Arc<dyn BlockingExecutor>) {
        *self.shared.driver.lock() = Some(executor);
        self.shared.notify();
    }

    /// Does one thing: lets a piece arrive, lets a producer's end send, breaks a connection, or lets time pass.
    /// `false` if there is nothing to do.
    pub fn pump(&self) -> bool {
        let _one = self.shared.pumping.lock();
        self.shared.step()
    }

    /// Pumps until nothing is left to do.
    pub fn pump_all(&self) {
        while self.pump() {}
    }

    /// Breaks every connection.
    pub fn break_all(&self) {
        let channels: Vec<u64> = self.shared.net.lock().connections.keys().copied().collect();
        let _one = self.shared.pumping.lock();
        channels.into_iter().for_each(|channel| self.shared.break_connection(channel));
    }

    /// Connections that were broken so far.
    #[must_use]
    pub fn broken(&self) -> u64 {
        self.shared.net.lock().broken
    }

    /// Connections that are not over.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.net.lock().connections.len()
    }
}

impl Transport for HostileTransport {
    fn connect(&self, request: &ChannelRequest, endpoint: ChannelEndpoint) -> Result<Box<dyn ChannelReader>> {
        let ChannelEndpoint { listener, credits, index } = endpoint;
        let inbound =
            InboundChannel::new(request.partition, request.subpartition, index, Arc::clone(&credits), listener);
        let channel = {
            let mut net = self.shared.net.lock();
            let channel = net.next_channel;
            net.next_channel += 1;
            let connection = Connection {
                inbound: Arc::clone(&inbound),
                request: request.clone(),
                credits: credits.config(),
                outbound: None,
                ready: false,
                to_producer: Pipe::default(),
                to_consumer: Pipe::default(),
            };
            net.connections.insert(channel, connection);
            channel
        };
        let path = Path { shared: Arc::downgrade(&self.shared), channel };
        let credits = open_credits(&credits, index, path.clone());
        path.send(Body::Open {
            partition: request.partition,
            subpartition: request.subpartition,
            partition_type: request.partition_type,
            credits,
        });
        Ok(Box::new(InboundReader::new(inbound, Box::new(path))))
    }
}

fn open_credits(credits: &GateCredits, index: u32, path: Path) -> u32 {
    credits.open(index, Arc::new(path))
}

/// The way from a consumer to its producer.
#[derive(Clone)]
struct Path {
    shared: Weak<Shared>,
    channel: u64,
}

impl ReturnPath for Path {
    fn send(&self, body: Body) {
        if let Some(shared) = self.shared.upgrade() {
            shared.net.lock().send(self.channel, &shared.options, true, body);
            shared.notify();
        }
    }
}

impl CreditLink for Path {
    fn grant(&self, credits: u32) {
        self.send(Body::Grant { credits });
    }
}

/// Marks a connection whose partition has something new.
struct OutboundSignal(Path);

impl DataListener for OutboundSignal {
    fn data_available(&self) {
        if let Some(shared) = self.0.shared.upgrade() {
            if let Some(connection) = shared.net.lock().connections.get_mut(&self.0.channel) {
                connection.ready = true;
            }
            shared.notify();
        }
    }

    fn priority_available(&self) {
        self.data_available();
    }
}

impl Net {
    /// Puts a message on its way, in pieces.
    fn send(&mut self, channel: u64, options: &HostileOptions, to_producer: bool, body: Body) {
        let Some(connection) = self.connections.get_mut(&channel) else { return };
        let bytes = Message { channel, body }.encode();
        let pipe = if to_producer { &mut connection.to_producer } else { &mut connection.to_consumer };
        let mut rest = bytes.as_slice();
        for _ in 0..self.rng.below(options.pieces_max.max(1)) {
            let (piece, tail) = rest.split_at(self.rng.below(rest.len() as u64 + 1) as usize);
            pipe.pieces.push_back((self.step + self.rng.below(options.delay_steps_max + 1), piece.to_vec()));
            rest = tail;
        }
        pipe.pieces.push_back((self.step + self.rng.below(options.delay_steps_max + 1), rest.to_vec()));
    }
}

/// What a step is about to do.
enum Act {
    ToProducer(u64, Vec<u8>),
    ToConsumer(u64, Vec<u8>),
    Outbound(u64),
    Break(u64),
    Wait,
}

impl Shared {
    fn step(&self) -> bool {
        let Some(act) = self.choose() else { return false };
        match act {
            Act::Wait => {}
            Act::Break(channel) => self.break_connection(channel),
            Act::Outbound(channel) => self.pump_outbound(channel),
            Act::ToProducer(channel, piece) => self.arrive(channel, true, &piece),
            Act::ToConsumer(channel, piece) => self.arrive(channel, false, &piece),
        }
        true
    }

    fn choose(&self) -> Option<Act> {
        let mut net = self.net.lock();
        let busy: Vec<u64> =
            net.connections.iter().filter(|(_, c)| c.has_work()).map(|(channel, _)| *channel).collect();
        if busy.is_empty() {
            return None;
        }
        net.step += 1;
        let channel = busy[net.rng.below(busy.len() as u64) as usize];
        if net.rng.chance(self.options.break_chance) {
            return Some(Act::Break(channel));
        }
        let (turn, now) = (net.rng.below(3), net.step);
        let connection = net.connections.get_mut(&channel)?;
        Some(match turn {
            0 => connection.to_producer.arrived(now).map_or(Act::Wait, |piece| Act::ToProducer(channel, piece)),
            1 => connection.to_consumer.arrived(now).map_or(Act::Wait, |piece| Act::ToConsumer(channel, piece)),
            _ if std::mem::take(&mut connection.ready) => Act::Outbound(channel),
            _ => Act::Wait,
        })
    }

    fn arrive(&self, channel: u64, to_producer: bool, piece: &[u8]) {
        let (messages, inbound) = {
            let mut net = self.net.lock();
            let Some(connection) = net.connections.get_mut(&channel) else { return };
            let pipe = if to_producer { &mut connection.to_producer } else { &mut connection.to_consumer };
            (pipe.assembler.push(piece), Arc::clone(&connection.inbound))
        };
        let Ok(messages) = messages else {
            return self.break_connection(channel);
        };
        for message in messages {
            if to_producer { self.at_producer(channel, message.body) } else { inbound.on_message(message.body) }
        }
    }

    fn at_producer(&self, channel: u64, body: Body) {
        match body {
            Body::Open { credits, .. } => self.open(channel, credits),
            Body::Grant { credits } => {
                let mut net = self.net.lock();
                let Some(connection) = net.connections.get_mut(&channel) else { return };
                if let Some(outbound) = &mut connection.outbound {
                    outbound.on_grant(credits);
                    connection.ready = true;
                }
            }
            Body::Close => drop(self.remove(channel)),
            Body::Break { cause } => {
                if let Some(mut outbound) = self.remove(channel).and_then(|c| c.outbound) {
                    outbound.on_break(&cause);
                }
            }
            _ => self.break_connection(channel),
        }
    }

    fn open(&self, channel: u64, credits: u32) {
        let (request, config, rows_max) = {
            let mut net = self.net.lock();
            let rows_max = 1 + net.rng.below(self.options.rows_max.max(1) as u64) as usize;
            let Some(connection) = net.connections.get_mut(&channel) else { return };
            (connection.request.clone(), connection.credits, rows_max)
        };
        let path = self.path(channel);
        let request = ChannelRequest { location: PartitionLocation::Local, ..request };
        match self.local.open(&request, Arc::new(OutboundSignal(path))) {
            Ok(reader) => {
                let mut outbound = OutboundChannel::new(channel, request.partition, reader, config, credits);
                outbound.set_rows_max(rows_max);
                if let Some(connection) = self.net.lock().connections.get_mut(&channel) {
                    connection.outbound = Some(outbound);
                    connection.ready = true;
                }
            }
            Err(error) => {
                let missing = matches!(error, NetworkError::PartitionNotFound { .. });
                let body = Body::Error { missing, cause: error.to_string().into() };
                self.net.lock().send(channel, &self.options, false, body);
            }
        }
    }

    fn pump_outbound(&self, channel: u64) {
        let outbound = self.net.lock().connections.get_mut(&channel).and_then(|c| c.outbound.take());
        let Some(mut outbound) = outbound else { return };
        let mut messages = Vec::new();
        let more = outbound.pump(MESSAGES_PER_STEP, &mut messages);
        let ended = outbound.has_ended();
        let over = {
            let mut net = self.net.lock();
            for message in messages {
                net.send(channel, &self.options, false, message.body);
            }
            match net.connections.get_mut(&channel) {
                Some(connection) if !ended => {
                    connection.outbound = Some(outbound);
                    connection.ready |= more;
                    None
                }
                _ => Some(outbound),
            }
        };
        // The end of a reader calls its partition: not under the lock.
        drop(over);
    }

    fn break_connection(&self, channel: u64) {
        let Some(connection) = self.remove(channel) else { return };
        self.net.lock().broken += 1;
        let cause = "the network was cut";
        connection.inbound.fail_connection(cause);
        if let Some(mut outbound) = connection.outbound {
            outbound.on_break(cause);
        }
    }

    fn remove(&self, channel: u64) -> Option<Connection> {
        self.net.lock().connections.remove(&channel)
    }

    fn path(&self, channel: u64) -> Path {
        Path { shared: self.this.clone(), channel }
    }

    /// Queues a run on the driver, if there is one and something to do.
    fn notify(&self) {
        let driver = self.driver.lock().clone();
        let (Some(driver), Some(shared)) = (driver, self.this.upgrade()) else { return };
        if self.scheduled.swap(true, Ordering::AcqRel) {
            return;
        }
        driver.spawn_blocking(Box::new(move || {
            let mut busy = true;
            {
                let _one = shared.pumping.lock();
                for _ in 0..shared.options.steps_per_run.max(1) {
                    busy = shared.step();
                    if !busy {
                        break;
                    }
                }
            }
            shared.scheduled.store(false, Ordering::Release);
            // What came between the last step and the line above found a run scheduled.
            if busy || shared.has_work() {
                shared.notify();
            }
        }));
    }

    fn has_work(&self) -> bool {
        self.net.lock().connections.values().any(Connection::has_work)
    }
}

impl Connection {
    fn has_work(&self) -> bool {
        self.ready || !self.to_producer.pieces.is_empty() || !self.to_consumer.pieces.is_empty()
    }
}

impl Pipe {
    /// The first piece, if its time has come.
    fn arrived(&mut self, now: u64) -> Option<Vec<u8>> {
        let due = self.pieces.front().is_some_and(|(step, _)| *step <= now);
        if due { self.pieces.pop_front().map(|(_, piece)| piece) } else { None }
    }
}
