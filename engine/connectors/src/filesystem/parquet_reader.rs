//! Reads row groups of Parquet files, one ahead of the one that is decoded, and large ones piece by piece.
//!
//! 1. The first of `splits` is the one being read; its position is that of the last row returned, so a snapshot is a
//!    copy of the list, whatever is in flight.
//! 2. `ahead` fetches the row group that will be needed next, on the blocking executor: it opens the file, binds its
//!    columns, leaves the row group out if a filter says so, charges its bytes and reads them.
//! 3. When the current row group ends, the fetched one becomes current, unless a runtime filter that came meanwhile
//!    leaves it out; then the next fetch begins. Filters that have come by then also leave out rows of it.
//!
//! A piece is as many rows as can be fetched in [`PIECE_BYTES`]; most row groups are one. Below, "row group" may be a piece
//! of one.
//!
//! A scan that awaits its runtime filters reads nothing before they have come, so that what they leave out is not fetched,
//! decoded and passed on in vain; after [`FILTERS_WAIT_MAX`] it begins all the same.
//!
//! A fetch ahead that memory is refused for is tried again when nothing else is held. Refused then, it is tried in smaller
//! pieces, down to [`PIECE_BYTES_MIN`], and then waits for memory that other holders have been asked to spill; only if
//! there is none is the refusal final.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flumen_core::failure::Failure;
use flumen_core::source::{ReaderContext, ReaderStatus, RuntimeFilter};
use flumen_core::types::SchemaRef;
use flumen_core::waiting::{Outcome, Pending};
use flumen_formats_parquet::{
    ColumnBinding, FetchBuffers, FooterCache, PageMap, ParquetFile, RowGroupChunks, RowGroupPlan, RowGroupPruner,
    RowGroupReader, ScanFilter,
};
use flumen_io::{FileSystem, MonotonicTime, ReadFile};

use super::split::FileSplit;
use crate::charge::Charge;
use crate::error::ConnectorError;

/// A row group that takes more is fetched in pieces of at most this many bytes.
const PIECE_BYTES: usize = 16 << 20;
/// Pieces that the managed memory has to have room for: they are smaller where it is small.
const PIECES_IN_MEMORY: usize = 32;
/// The pieces that a scan makes do with when memory is short.
const PIECE_BYTES_MIN: usize = 256 << 10;
/// Longest wait for runtime filters. A build side that takes longer than this is worth a few row groups read in vain.
const FILTERS_WAIT_MAX: Duration = Duration::from_secs(1);

/// What all row groups of a scan share.
#[derive(Clone)]
pub(super) struct ParquetScan {
    pub(super) files: Arc<dyn FileSystem>,
    pub(super) footers: Arc<FooterCache>,
    pub(super) pruner: RowGroupPruner,
    /// Leaves out rows before their other columns are decoded.
    pub(super) filter: ScanFilter,
    /// Filters that may come, by id, and the output column each is over.
    pub(super) runtime_filters: Vec<(u32, usize)>,
    /// Nothing is read before they have come.
    pub(super) awaits_filters: bool,
    pub(super) schema: SchemaRef,
    pub(super) limit: Option<u64>,
}

/// Filters that joins have published: id and output column, since one may be over two columns.
type RuntimeFilters = Arc<BTreeMap<(u32, usize), RuntimeFilter>>;

/// An open file and where the output columns are in it.
#[derive(Clone)]
struct Opened {
    source: Arc<dyn ReadFile>,
    file: Arc<ParquetFile>,
    bindings: Arc<[ColumnBinding]>,
}

/// Where the pages of a row group lie.
#[derive(Clone)]
struct Mapped {
    path: String,
    row_group: usize,
    /// `None` if it cannot be divided.
    map: Option<Arc<PageMap>>,
}

/// A row group whose bytes are there.
struct Fetched {
    opened: Opened,
    /// `None` if no row of it can match.
    chunks: Option<(RowGroupChunks, Charge)>,
    /// The map that was used or made.
    mapped: Option<Mapped>,
}

enum FetchError {
    /// Memory was refused.
    Refused(Failure),
    Failed(Failure),
}

impl<E: Into<ConnectorError>> From<E> for FetchError {
    fn from(error: E) -> Self {
        Self::Failed(error.into().into())
    }
}

/// A row group that is being fetched.
struct Ahead {
    fetched: Pending<Result<Fetched, FetchError>>,
    /// Nothing else was held when it began.
    is_alone: bool,
}

/// The row group that is being decoded.
struct Current {
    reader: RowGroupReader,
    /// Rows of the row group that it reads up to, if there are more.
    piece_end: Option<u64>,
    /// For the bytes that the reader holds.
    _charge: Charge,
}

/// Where the wait for runtime filters is.
#[derive(Clone, Copy)]
enum Wait {
    NotBegun,
    Until(MonotonicTime),
    /// They have come, or were not waited for longer.
    Over,
}

/// Reads the row groups of the splits it is given.
pub(super) struct ParquetReader {
    scan: ParquetScan,
    context: ReaderContext,
    splits: VecDeque<FileSplit>,
    current: Option<Current>,
    ahead: Option<Ahead>,
    opened: Option<Opened>,
    mapped: Option<Mapped>,
    /// The largest pieces that are fetched.
    piece_bytes: usize,
    buffers: FetchBuffers,
    published: RuntimeFilters,
    wait: Wait,
    rows_left: u64,
    is_last: bool,
    has_asked: bool,
    /// The last fetch was refused, and nobody else had been asked for memory.
    was_refused: bool,
}

impl ParquetReader {
    pub(super) fn new(scan: ParquetScan, context: ReaderContext) -> Self {
        let rows_left = scan.limit.unwrap_or(u64::MAX);
        let piece_bytes = (context.memory.limit_bytes() / PIECES_IN_MEMORY).clamp(PIECE_BYTES_MIN, PIECE_BYTES);
        let wait = if scan.awaits_filters { Wait::NotBegun } else { Wait::Over };
        Self {
            wait,
            scan,
            context,
            splits: VecDeque::new(),
            current: None,
            ahead: None,
            opened: None,
            mapped: None,
            piece_bytes,
            buffers: FetchBuffers::default(),
            published: Arc::default(),
            rows_left,
            is_last: false,
            has_asked: false,
            was_refused: false,
        }
    }

    pub(super) fn add_splits(&mut self, splits: Vec<FileSplit>) {
        self.splits.extend(splits);
        self.has_asked = false;
    }

    pub(super) fn no_more_splits(&mut self) {
        self.is_last = true;
    }

    pub(super) fn splits(&self) -> impl Iterator<Item = &FileSplit> {
        self.splits.iter()
    }

    pub(super) fn runtime_filter(&mut self, filter: u32, bounds: RuntimeFilter) {
        for (_, column) in self.scan.runtime_filters.iter().filter(|(id, _)| *id == filter) {
            Arc::make_mut(&mut self.published).insert((filter, *column), bounds.clone());
        }
        if self.published.len() == self.scan.runtime_filters.len() {
            self.wait = Wait::Over;
        }
    }

    /// Whether filters are still waited for.
    fn awaits_filters(&mut self) -> bool {
        match self.wait {
            Wait::Over => {}
            Wait::NotBegun => {
                let until = self.context.clock.now().after(FILTERS_WAIT_MAX);
                self.wait = Wait::Until(until);
                self.context.timers.wake_at(until, self.context.waker.clone());
            }
            Wait::Until(until) if self.context.clock.now() >= until => self.wait = Wait::Over,
            Wait::Until(_) => {}
        }
        !matches!(self.wait, Wait::Over)
    }

    pub(super) fn poll_next(&mut self) -> Result<ReaderStatus, Failure> {
        loop {
            if self.rows_left == 0 {
                self.current = None;
                self.ahead = None;
                self.splits.clear();
                return Ok(ReaderStatus::EndOfInput);
            }
            let has_work = !self.splits.is_empty();
            let waits = has_work && self.awaits_filters();
            if !waits {
                self.fetch_ahead();
            }
            if self.wants_split() {
                self.has_asked = true;
                return Ok(ReaderStatus::NeedsSplit);
            }
            if waits {
                return Ok(ReaderStatus::Waiting);
            }
            if let Some(current) = &mut self.current {
                if let Some(mut batch) = current.reader.next_batch()? {
                    if batch.num_rows() as u64 > self.rows_left {
                        batch = batch.slice(0, self.rows_left as usize);
                    }
                    self.rows_left -= batch.num_rows() as u64;
                    self.splits[0].row = current.reader.position();
                    return Ok(ReaderStatus::Batch(batch));
                }
                let piece_end = current.piece_end;
                self.current = None;
                match (piece_end, self.splits.front_mut()) {
                    (Some(end), Some(front)) => front.row = end,
                    _ => self.row_group_done(),
                }
                continue;
            }
            let Some(ahead) = &mut self.ahead else {
                return Ok(match self.is_last {
                    true => ReaderStatus::EndOfInput,
                    false => ReaderStatus::Waiting,
                });
            };
            match ahead.fetched.poll() {
                Outcome::Waiting => return Ok(ReaderStatus::Waiting),
                Outcome::Lost => return Err(ConnectorError::Lost { what: "a read of a row group" }.into()),
                Outcome::Ready(fetched) => {
                    let is_alone = ahead.is_alone;
                    self.ahead = None;
                    match fetched {
                        Ok(fetched) => {
                            self.was_refused = false;
                            self.begin(fetched)?;
                        }
                        Err(FetchError::Refused(_)) if is_alone && self.piece_bytes > PIECE_BYTES_MIN => {
                            self.piece_bytes = (self.piece_bytes / 4).max(PIECE_BYTES_MIN);
                        }
                        Err(FetchError::Refused(failure)) if is_alone => {
                            if self.context.memory.wake_when_others_give(&self.context.waker) {
                                self.was_refused = false;
                                return Ok(ReaderStatus::Waiting);
                            }
                            // What others gave in between is found by one more attempt.
                            if std::mem::replace(&mut self.was_refused, true) {
                                return Err(failure);
                            }
                        }
                        Err(FetchError::Refused(_)) => {}
                        Err(FetchError::Failed(failure)) => return Err(failure),
                    }
                }
            }
        }
    }

    /// One more split is wanted as soon as nothing is left to fetch ahead.
    fn wants_split(&self) -> bool {
        let nothing_left = match self.splits.len() {
            0 => true,
            1 => self.current.is_some() && self.following().is_none(),
            _ => false,
        };
        nothing_left && !self.is_last && !self.has_asked
    }

    /// The row group behind the current one.
    fn following(&self) -> Option<FileSplit> {
        let front = self.splits.front()?;
        if let Some(end) = self.current.as_ref().and_then(|current| current.piece_end) {
            return Some(front.at_row(end));
        }
        front.next_row_group().or_else(|| self.splits.get(1).cloned())
    }

    /// Starts to fetch what is needed next, if that is not under way.
    fn fetch_ahead(&mut self) {
        if self.ahead.is_some() {
            return;
        }
        let is_alone = self.current.is_none();
        let wanted = if is_alone { self.splits.front().cloned() } else { self.following() };
        let Some(wanted) = wanted else { return };
        let (scan, published) = (self.scan.clone(), Arc::clone(&self.published));
        let memory = Arc::clone(&self.context.memory);
        let buffers = self.buffers.clone();
        let opened = self.opened.clone().filter(|o| o.file.path() == Path::new(&wanted.path));
        let mapped = self.mapped.clone().filter(|m| m.path == wanted.path && m.row_group == wanted.row_group);
        let piece_bytes = self.piece_bytes;
        let fetched = Pending::spawn(self.context.blocking.as_ref(), self.context.waker.clone(), move || {
            let opened = match opened {
                Some(opened) => opened,
                None => scan.open(&wanted)?,
            };
            if !scan.may_match(&opened, wanted.row_group, &published) {
                return Ok(Fetched { opened, chunks: None, mapped });
            }
            let columns = RowGroupReader::columns(&opened.bindings);
            let mut plan = RowGroupPlan::new(&opened.file, wanted.row_group, &columns)?;
            let mut mapped = mapped;
            if plan.bytes() > piece_bytes {
                let known = match mapped.take() {
                    Some(known) => known,
                    None => wanted.mapped(&plan, opened.source.as_ref())?,
                };
                if let Some(map) = &known.map {
                    plan = plan.piece(map, wanted.row, piece_bytes);
                }
                mapped = Some(known);
            }
            let charge = Charge::new(&memory, plan.bytes()).map_err(FetchError::Refused)?;
            let chunks = plan.fetch(opened.source.as_ref(), &buffers)?;
            Ok(Fetched { opened, chunks: Some((chunks, charge)), mapped })
        });
        self.ahead = Some(Ahead { fetched, is_alone });
    }

    /// Starts to decode the row group at the front.
    fn begin(&mut self, fetched: Fetched) -> Result<(), Failure> {
        let Fetched { opened, chunks, mapped } = fetched;
        let split = self.splits.front().ok_or_else(|| Failure::bug("a row group was fetched for no split"))?;
        let (row_group, row) = (split.row_group, split.row);
        let wanted = chunks.filter(|_| self.scan.may_join(&opened, row_group, &self.published));
        self.opened = Some(opened.clone());
        self.mapped = mapped;
        let Some((chunks, charge)) = wanted else {
            self.row_group_done();
            return Ok(());
        };
        let schema = Arc::clone(&self.scan.schema);
        let rows = self.context.batch_rows;
        let mut reader = RowGroupReader::new(&opened.file, row_group, &opened.bindings, schema, &chunks, rows, row)?;
        let filter = self.published.iter().fold(self.scan.filter.clone(), |filter, ((_, column), keys)| {
            filter.with_keys(*column, keys, &self.scan.schema)
        });
        reader.set_filter(&filter);
        let end = chunks.rows().end;
        let piece_end = (end < opened.file.row_group_rows(row_group)).then_some(end);
        self.current = Some(Current { reader, piece_end, _charge: charge });
        Ok(())
    }

    /// Moves the front split behind its row group.
    fn row_group_done(&mut self) {
        if let Some(front) = self.splits.front_mut() {
            front.row_group += 1;
            front.row = 0;
            if front.row_group >= front.row_group_end {
                self.splits.pop_front();
            }
        }
    }
}

impl FileSplit {
    /// The pages of its row group. May block.
    fn mapped(&self, plan: &RowGroupPlan, source: &dyn ReadFile) -> Result<Mapped, ConnectorError> {
        let map = PageMap::read(plan, source)?.map(Arc::new);
        Ok(Mapped { path: self.path.clone(), row_group: self.row_group, map })
    }
}

impl ParquetScan {
    fn open(&self, split: &FileSplit) -> Result<Opened, ConnectorError> {
        let source = self.files.open(Path::new(&split.path))?;
        split.check_unchanged(source.size(), source.modified_millis())?;
        let file = self.footers.open(source.as_ref())?;
        if split.row_group >= file.row_groups() {
            let problem = format!("it has {} row groups", file.row_groups());
            return Err(ConnectorError::FileChanged { path: split.path.clone(), problem });
        }
        let bindings = ColumnBinding::bind(&file, &self.schema.fields)?.into();
        Ok(Opened { source, file, bindings })
    }

    fn may_match(&self, opened: &Opened, row_group: usize, published: &RuntimeFilters) -> bool {
        self.pruner.may_match(&opened.file, row_group, &opened.bindings) && self.may_join(opened, row_group, published)
    }

    fn may_join(&self, opened: &Opened, row_group: usize, published: &RuntimeFilters) -> bool {
        published.iter().all(|((_, column), filter)| {
            RowGroupPruner::may_join(&opened.file, row_group, &opened.bindings, *column, filter)
        })
    }
}
