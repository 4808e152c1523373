//! The tree of budgets, and the arbiter that decides who gives memory back.
//!
//! Budgets are charged in whole pages (a reservation takes the next page only when it needs it), so most growth of a
//! reservation touches nothing but the reservation. A charge goes from the leaf to the root under one lock for the
//! whole tree: it is a few additions, happens at most once per 64 KiB, and is exact: no request is refused because
//! another one is half way up.
//!
//! Locks, in this order: a reservation's state, the tree. The lists of members are locked alone. Listeners run with
//! none of them held.

use super::consumers::{Consumers, Presence};
use super::reservation::{Reservation, ReservationInner};
use super::weights::{ConsumerKind, ConsumerWeights};
use crate::arena::{Arena, PAGE_BYTES};
use crate::error::{Holder, MemoryError, Refusal, largest_first};
use crate::sync::Lock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// The managed memory of one process; clones share it.
#[derive(Debug, Clone)]
pub struct MemoryManager {
    root: MemoryBudget,
    /// By kind of consumer, between the root and its tasks.
    kinds: [MemoryBudget; ConsumerKind::ALL.len()],
}

/// A named part of the managed memory with a limit of its own: a job, a task. Clones share it.
///
/// A limit is an upper bound, not a promise: budgets may add up to more than their parent, which then refuses.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    pub(crate) node: Arc<BudgetNode>,
}

#[derive(Debug)]
pub(crate) struct BudgetNode {
    /// Path of names without the root's, as `job/task`.
    path: String,
    limit: Limit,
    /// Written under the tree's lock.
    used_bytes: AtomicU64,
    peak_bytes: AtomicU64,
    parent: Option<Arc<BudgetNode>>,
    members: Lock<Members>,
    pub(crate) tree: Arc<Tree>,
    /// Of a kind's budget: that the kind is there.
    presence: Option<Presence>,
}

/// The most that may be charged to a budget.
#[derive(Debug, Clone, Copy)]
enum Limit {
    Bytes(u64),
    /// The share that this kind has now.
    Share(ConsumerKind),
}

/// Whether the holder could spill what it asks memory for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Growth {
    /// It could not: any room of the budget will do.
    Fixed,
    /// It could: a part of each budget is left for those who could not.
    Spillable,
}

/// One of so many parts of a budget is out of reach for what could be spilled.
const KEPT_FREE_ONE_OF: u64 = 4;

impl Growth {
    fn limit(self, limit_bytes: u64) -> u64 {
        match self {
            Self::Fixed => limit_bytes,
            Self::Spillable => limit_bytes - limit_bytes / KEPT_FREE_ONE_OF,
        }
    }
}

#[derive(Debug, Default)]
struct Members {
    budgets: Vec<Weak<BudgetNode>>,
    reservations: Vec<Weak<ReservationInner>>,
}

/// What all budgets of a manager share.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) arena: Arena,
    promised_pages: usize,
    pub(crate) consumers: Consumers,
    /// Guards every `used_bytes` of the tree.
    charges: Lock<()>,
    waiting: Lock<Vec<Weak<ReservationInner>>>,
    any_waiting: AtomicBool,
}

impl MemoryManager {
    /// Manages `bytes` bytes, whose segments come from `arena`, for kinds of consumers of Flink's default weights.
    ///
    /// # Errors
    /// [`MemoryError::ArenaOverbooked`] if other pools and managers were promised too many of the arena's pages.
    pub fn new(arena: Arena, bytes: u64) -> Result<Self, MemoryError> {
        Self::with_weights(arena, bytes, ConsumerWeights::default())
    }

    /// As [`Self::new`], with weights.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_weights(arena: Arena, bytes: u64, weights: ConsumerWeights) -> Result<Self, MemoryError> {
        let pages = usize::try_from(bytes / PAGE_BYTES as u64).unwrap_or(usize::MAX);
        arena.promise(pages)?;
        let tree = Arc::new(Tree {
            arena,
            promised_pages: pages,
            consumers: Consumers::new(weights, bytes),
            charges: Lock::new(()),
            waiting: Lock::new(Vec::new()),
            any_waiting: AtomicBool::new(false),
        });
        let node = Arc::new(BudgetNode::new(String::new(), Limit::Bytes(bytes), None, tree));
        let root = MemoryBudget { node };
        // They have no names of their own in the paths of who is below.
        let kinds = ConsumerKind::ALL.map(|kind| root.below(String::new(), Limit::Share(kind), None));
        Ok(Self { root, kinds })
    }

    /// The budget of all managed memory, to hang jobs under.
    pub fn root(&self) -> &MemoryBudget {
        &self.root
    }

    /// A budget under the root: [`MemoryBudget::child`].
    pub fn budget(&self, name: &str, limit_bytes: u64) -> MemoryBudget {
        self.root.child(name, limit_bytes)
    }

    /// A budget for consumers of one kind, who together get no more than the kind's share of what there is.
    ///
    /// The shares change when a kind comes or goes. Who holds more than its new share is asked to give the rest back,
    /// and gets no more until it has.
    ///
    /// # Errors
    /// [`MemoryError::Layout`] if the kind has no weight.
    pub fn consumer_budget(&self, kind: ConsumerKind, name: &str) -> Result<MemoryBudget, MemoryError> {
        let presence = Presence::enter(&self.root.node.tree, kind)?;
        let budget = self.kinds[kind as usize].below(name.to_owned(), Limit::Bytes(self.limit_bytes()), Some(presence));
        for kind in &self.kinds {
            let above = kind.used_bytes().saturating_sub(kind.limit_bytes());
            if above > 0 {
                kind.node.request_revocation(above);
            }
        }
        Ok(budget)
    }

    /// All managed bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.root.limit_bytes()
    }

    /// Bytes charged now, in whole pages per reservation.
    pub fn used_bytes(&self) -> u64 {
        self.root.used_bytes()
    }

    /// Asks holders that said they can to give back `bytes` in total, the largest first; answers how much was asked
    /// for, which is less if they cannot give as much.
    pub fn request_revocation(&self, bytes: u64) -> u64 {
        self.root.node.request_revocation(bytes)
    }

    /// The leak check: nothing is reserved.
    ///
    /// # Errors
    /// [`MemoryError::Leak`] with all holders.
    pub fn verify_empty(&self) -> Result<(), MemoryError> {
        self.root.verify_empty()
    }
}

impl MemoryBudget {
    /// A budget below this one. Use `u64::MAX` for "as much as the parent".
    pub fn child(&self, name: &str, limit_bytes: u64) -> Self {
        self.below(self.node.path_of(name), Limit::Bytes(limit_bytes.min(self.limit_bytes())), None)
    }

    fn below(&self, path: String, limit: Limit, presence: Option<Presence>) -> Self {
        let parent = Some(Arc::clone(&self.node));
        let mut node = BudgetNode::new(path, limit, parent, Arc::clone(&self.node.tree));
        node.presence = presence;
        let node = Arc::new(node);
        push_pruned(&mut self.node.members.lock().budgets, &node);
        Self { node }
    }

    /// A new, empty reservation charged to this budget.
    pub fn reserve(&self, name: &str) -> Reservation {
        let inner = Arc::new(ReservationInner::new(self.node.path_of(name), Arc::clone(&self.node)));
        push_pruned(&mut self.node.members.lock().reservations, &inner);
        Reservation::open(inner)
    }

    /// Path of names, as `job/task`.
    pub fn name(&self) -> &str {
        self.node.name()
    }

    /// The most that may be charged.
    pub fn limit_bytes(&self) -> u64 {
        self.node.limit_bytes()
    }

    /// Bytes charged now, in whole pages per reservation.
    pub fn used_bytes(&self) -> u64 {
        self.node.used_bytes.load(Ordering::Relaxed)
    }

    /// The most that was ever charged.
    pub fn peak_bytes(&self) -> u64 {
        self.node.peak_bytes.load(Ordering::Relaxed)
    }

    /// Everybody below who holds memory, largest first.
    pub fn consumers(&self) -> Vec<Holder> {
        self.node.consumers()
    }

    /// The leak check: nothing below this budget is reserved.
    ///
    /// # Errors
    /// [`MemoryError::Leak`] with all holders.
    pub fn verify_empty(&self) -> Result<(), MemoryError> {
        let held = self.consumers();
        if held.is_empty() { Ok(()) } else { Err(MemoryError::leak(self.name(), held)) }
    }
}

/// Adds a member, and forgets the dead when the list would grow.
fn push_pruned<T>(list: &mut Vec<Weak<T>>, member: &Arc<T>) {
    if list.len() == list.capacity() {
        list.retain(|other| other.strong_count() > 0);
    }
    list.push(Arc::downgrade(member));
}

impl BudgetNode {
    fn new(path: String, limit: Limit, parent: Option<Arc<Self>>, tree: Arc<Tree>) -> Self {
        let (used_bytes, peak_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        let members = Lock::new(Members::default());
        Self { path, limit, used_bytes, peak_bytes, parent, members, tree, presence: None }
    }

    fn name(&self) -> &str {
        match self.limit {
            Limit::Share(ConsumerKind::Operator) => "managed memory of kind OPERATOR",
            Limit::Share(ConsumerKind::StateBackend) => "managed memory of kind STATE_BACKEND",
            Limit::Share(ConsumerKind::Python) => "managed memory of kind PYTHON",
            Limit::Bytes(_) if self.path.is_empty() => "managed memory",
            Limit::Bytes(_) => &self.path,
        }
    }

    pub(crate) fn limit_bytes(&self) -> u64 {
        match self.limit {
            Limit::Bytes(bytes) => bytes,
            Limit::Share(kind) => self.tree.consumers.share_bytes(kind),
        }
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }

    pub(crate) fn ancestors(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |node| node.parent.as_deref())
    }

    /// Charges `bytes` here and above.
    ///
    /// # Errors
    /// The first budget upwards that has no room.
    pub(crate) fn charge(&self, bytes: u64, growth: Growth) -> Result<(), &Self> {
        let _tree = self.tree.charges.lock();
        let is_full = |node: &&Self| {
            let used = node.used_bytes.load(Ordering::Relaxed);
            used.checked_add(bytes).is_none_or(|used| used > growth.limit(node.limit_bytes()))
        };
        if let Some(full) = self.ancestors().find(is_full) {
            return Err(full);
        }
        for node in self.ancestors() {
            let used = node.used_bytes.load(Ordering::Relaxed) + bytes;
            node.used_bytes.store(used, Ordering::Relaxed);
            node.peak_bytes.fetch_max(used, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes a charge back. Call [`Tree::wake`] afterwards, without locks.
    pub(crate) fn discharge(&self, bytes: u64) {
        let _tree = self.tree.charges.lock();
        for node in self.ancestors() {
            let used = node.used_bytes.load(Ordering::Relaxed);
            debug_assert!(used >= bytes, "{} gives back more than it has", node.path);
            node.used_bytes.store(used.saturating_sub(bytes), Ordering::Relaxed);
        }
    }

    /// The error for a request of `reservation` that this budget refused, after asking others to give back.
    pub(crate) fn refusal(&self, reservation: &str, requested_bytes: u64, missing_bytes: u64) -> MemoryError {
        let revoking_bytes = self.request_revocation(missing_bytes);
        MemoryError::ReservationRefused(Box::new(Refusal {
            reservation: reservation.to_owned(),
            requested_bytes,
            budget: self.name().to_owned(),
            limit_bytes: self.limit_bytes(),
            used_bytes: self.used_bytes.load(Ordering::Relaxed),
            revoking_bytes,
            consumers: self.consumers(),
        }))
    }

    /// What a charge of `bytes` would exceed this budget by.
    pub(crate) fn missing(&self, bytes: u64, growth: Growth) -> u64 {
        let used = self.used_bytes.load(Ordering::Relaxed);
        used.saturating_add(bytes).saturating_sub(growth.limit(self.limit_bytes()))
    }

    /// What all holders of the tree but one have been asked to give back and have not given yet.
    pub(crate) fn awaited_bytes(&self, but: &Arc<ReservationInner>) -> u64 {
        let Some(root) = self.ancestors().last() else { return 0 };
        let others = root.reservations().into_iter().filter(|holder| !Arc::ptr_eq(holder, but));
        others.map(|holder| holder.revocation_requested()).sum()
    }

    fn reservations(&self) -> Vec<Arc<ReservationInner>> {
        let (mut found, budgets): (Vec<_>, Vec<_>) = {
            let members = self.members.lock();
            let reservations = members.reservations.iter().filter_map(Weak::upgrade).collect();
            (reservations, members.budgets.iter().filter_map(Weak::upgrade).collect())
        };
        budgets.iter().for_each(|budget| found.extend(budget.reservations()));
        found
    }

    fn consumers(&self) -> Vec<Holder> {
        let holders = self.reservations().into_iter().map(|held| Holder::new(held.name(), held.bytes()));
        largest_first(holders.filter(|holder| holder.bytes > 0).collect())
    }

    /// The arbiter: the holder that can give back most is asked first, whoever it is, until `bytes` are covered. What
    /// was asked for before and has not come yet counts as covered.
    fn request_revocation(&self, bytes: u64) -> u64 {
        let mut candidates = self.reservations();
        candidates.retain(|holder| holder.revocable_bytes() > 0 || holder.revocation_requested() > 0);
        let pending: u64 = candidates.iter().map(|holder| holder.revocation_requested()).sum();
        let mut asked = pending.min(bytes);
        candidates.sort_by_key(|holder| std::cmp::Reverse(holder.revocable_bytes()));
        for holder in candidates {
            if asked >= bytes {
                break;
            }
            asked += holder.ask_back(bytes - asked);
        }
        asked
    }
}

impl Tree {
    /// Registers a reservation to be told at the next [`Self::wake`].
    pub(crate) fn wait(&self, reservation: &Arc<ReservationInner>) {
        let mut waiting = self.waiting.lock();
        waiting.push(Arc::downgrade(reservation));
        self.any_waiting.store(true, Ordering::SeqCst);
    }

    /// Tells all that wait for memory that some came back. The caller holds no lock.
    #[inline]
    pub(crate) fn wake(&self) {
        if self.any_waiting.load(Ordering::SeqCst) {
            self.wake_all();
        }
    }

    #[cold]
    fn wake_all(&self) {
        let waiting = {
            let mut waiting = self.waiting.lock();
            self.any_waiting.store(false, Ordering::SeqCst);
            std::mem::take(&mut *waiting)
        };
        waiting.iter().filter_map(Weak::upgrade).for_each(|reservation| reservation.memory_available());
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.arena.withdraw_promise(self.promised_pages);
    }
}

/// Room in the lists of members, which must not grow with the number of members that ever were.
#[cfg(test)]
pub(crate) fn member_capacity(budget: &MemoryBudget) -> usize {
    let members = budget.node.members.lock();
    members.budgets.capacity() + members.reservations.capacity()
}
