//! Which rows count while a part of an expression is evaluated.
//!
//! * A *frame* is a numbering of rows: frame 0 is the batch, a further one holds some rows of the frame below, gathered
//!   together. Its columns are gathered when they are first read.
//! * A *scope* is a set of rows of a frame that count. Conditions push scopes and pop them. Narrowing to most of the
//!   rows keeps the frame and marks the rows in a bitmap: kernels then compute all rows, at full speed, and look at the
//!   bitmap only where something would fail. Narrowing to few rows starts a frame.
//! * Results of nodes with several users are kept. They are good in the scope where they were computed and in all
//!   above it, and are dropped when that scope is left.

use arrow_buffer::BooleanBuffer;
use flumen_core::batch::{Batch, Column, Selection};

use super::column::{Rows, bits_at, flatten, gather, positions, scatter};
use super::error::ExprError;
use super::program::NodeId;

/// Fewer than one row in this many start a frame.
const DENSITY_MIN: usize = 8;
/// Frames this small are not worth another.
const FRAME_ROWS_MIN: usize = 64;

struct Frame {
    rows: usize,
    /// Rows of the frame below; empty for frame 0.
    origin: Selection,
    columns: Vec<(usize, Column)>,
    /// The first scope of this frame.
    base: usize,
}

struct Scope {
    frame: usize,
    active: Option<BooleanBuffer>,
    count: usize,
    /// The scope that results belong to: this one, or the frame's first if this stands for it.
    owner: usize,
}

struct Kept {
    column: Column,
    frame: usize,
    scope: usize,
}

/// The frames, scopes and kept results of one evaluation.
pub(crate) struct Scopes<'a> {
    batch: &'a Batch,
    frames: Vec<Frame>,
    scopes: Vec<Scope>,
    kept: Vec<Option<Kept>>,
    live: Vec<NodeId>,
}

impl<'a> Scopes<'a> {
    /// All physical rows of the batch; `nodes` results may be kept.
    pub(crate) fn new(batch: &'a Batch, nodes: usize) -> Self {
        let rows = batch.physical_rows();
        let mut kept = Vec::new();
        kept.resize_with(nodes, || None);
        Self {
            batch,
            frames: vec![Frame { rows, origin: Selection::default(), columns: Vec::new(), base: 0 }],
            scopes: vec![Scope { frame: 0, active: None, count: rows, owner: 0 }],
            kept,
            live: Vec::new(),
        }
    }

    fn top(&self) -> &Scope {
        self.scopes.last().expect("the first scope is never left")
    }

    /// The rows of the current scope.
    pub(crate) fn rows(&self) -> Rows<'_> {
        let top = self.top();
        Rows { len: self.frames[top.frame].rows, active: top.active.as_ref() }
    }

    /// How many rows count.
    pub(crate) fn count(&self) -> usize {
        self.top().count
    }

    /// How many scopes there are.
    pub(crate) fn depth(&self) -> usize {
        self.scopes.len()
    }

    /// Narrows to `bits` of the current frame, of which `count` are set; all of them count already.
    pub(crate) fn enter(&mut self, bits: BooleanBuffer, count: usize) {
        let rows = self.rows().len;
        if count * DENSITY_MIN < rows && rows >= FRAME_ROWS_MIN {
            self.enter_positions(positions(&bits));
            return;
        }
        let (frame, owner) = (self.top().frame, self.scopes.len());
        let active = (count < rows).then_some(bits);
        self.scopes.push(Scope { frame, active, count, owner });
    }

    /// Narrows to these rows of the current frame, gathered together.
    pub(crate) fn enter_positions(&mut self, origin: Selection) {
        let (rows, owner) = (origin.len(), self.scopes.len());
        self.frames.push(Frame { rows, origin, columns: Vec::new(), base: owner });
        self.scopes.push(Scope { frame: self.frames.len() - 1, active: None, count: rows, owner });
    }

    /// Narrows to the selected rows of the batch.
    pub(crate) fn enter_selection(&mut self, selection: &Selection) {
        let rows = self.rows().len;
        if selection.len() * DENSITY_MIN < rows && rows >= FRAME_ROWS_MIN {
            self.enter_positions(selection.clone());
        } else {
            self.enter(bits_at(selection, rows), selection.len());
        }
    }

    /// Whether the current scope is narrower than its frame's first, and that one is not too wide to compute instead.
    pub(crate) fn may_widen(&self) -> bool {
        const TIMES_MAX: usize = 4;
        let top = self.top();
        let base = self.frames[top.frame].base;
        top.owner != base && self.scopes[base].count <= top.count * TIMES_MAX
    }

    /// Goes back to the rows of the frame's first scope for a while.
    pub(crate) fn enter_base(&mut self) {
        let frame = self.top().frame;
        let owner = self.frames[frame].base;
        let base = &self.scopes[owner];
        let scope = Scope { frame, active: base.active.clone(), count: base.count, owner };
        self.scopes.push(scope);
    }

    /// Leaves the current scope with a column computed in it; comes back numbered as the scope below.
    pub(crate) fn leave(&mut self, column: Column) -> Result<Column, ExprError> {
        let left = self.scopes.pop().expect("a scope was entered");
        let depth = self.scopes.len();
        let kept = &mut self.kept;
        self.live.retain(|id| {
            let stays = kept[*id].as_ref().is_some_and(|k| k.scope < depth);
            if !stays {
                kept[*id] = None;
            }
            stays
        });
        if left.frame == self.top().frame {
            return Ok(column);
        }
        let frame = self.frames.pop().expect("the scope had a frame of its own");
        scatter(&column, &frame.origin, self.rows().len)
    }

    /// A column of the batch in the current frame.
    pub(crate) fn column(&mut self, index: usize) -> Result<Column, ExprError> {
        let current = self.top().frame;
        if current == 0 {
            return plain(self.batch.column(index));
        }
        if let Some((_, column)) = self.frames[current].columns.iter().find(|(i, _)| *i == index) {
            return Ok(column.clone());
        }
        // From the nearest frame below that has it.
        let found = (1..current)
            .rev()
            .find_map(|f| self.frames[f].columns.iter().find(|(i, _)| *i == index).map(|(_, c)| (f, c.clone())));
        let (mut below, mut column) = match found {
            Some(found) => found,
            None => (0, plain(self.batch.column(index))?),
        };
        while below < current {
            below += 1;
            column = gather(&column, &self.frames[below].origin)?;
        }
        self.frames[current].columns.push((index, column.clone()));
        Ok(column)
    }

    /// Keeps the result of a node for its other users.
    pub(crate) fn keep(&mut self, node: NodeId, column: &Column) {
        let (frame, scope) = (self.top().frame, self.top().owner);
        if self.kept[node].replace(Kept { column: column.clone(), frame, scope }).is_none() {
            self.live.push(node);
        }
    }

    /// The kept result of a node in the current frame.
    pub(crate) fn kept(&self, node: NodeId) -> Option<Result<Column, ExprError>> {
        let kept = self.kept[node].as_ref()?;
        let current = self.top().frame;
        let mut column = kept.column.clone();
        for frame in &self.frames[kept.frame + 1..=current] {
            match gather(&column, &frame.origin) {
                Ok(gathered) => column = gathered,
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok(column))
    }

    /// Rows of the current frame as rows of the batch.
    pub(crate) fn physical(&self, rows: Selection) -> Selection {
        let mut rows = rows;
        for frame in self.frames[1..=self.top().frame].iter().rev() {
            rows = rows.iter().map(|row| frame.origin[*row as usize]).collect::<Vec<_>>().into();
        }
        rows
    }
}

/// Run ends have no fast gather: they are expanded when they are read. Dictionaries stay, for peeling.
fn plain(column: &Column) -> Result<Column, ExprError> {
    match column.array().data_type() {
        arrow_schema::DataType::RunEndEncoded(_, _) => flatten(column.clone()),
        _ => Ok(column.clone()),
    }
}
