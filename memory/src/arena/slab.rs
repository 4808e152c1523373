//! Which pages of the arena are free: one 32-bit map per 2 MiB slab, and lists of slabs by their longest free run.
//!
//! A slab is 32 pages, so its state is one `u32` (bit set = page free) and finding a run of `n` pages is a handful of
//! shifts. Slabs that have been carved before are linked into the list of their *class*, the length of their longest
//! free run; a bit set of non-empty classes gives the best-fitting slab in constant time. Slabs never carved lie
//! behind `fresh`: they are the last resort, because their first touch costs a page fault that a recycled page does
//! not (performance notes, section 0: 1.6 us per 4 KiB).
//!
//! Invariants: a page is either free (bit set) or owned by exactly one caller; a run never crosses a slab; the class of
//! a carved slab always equals the longest run of its map. Pages are numbered from 0 over the arena. No threading:
//! the free list holds this structure under its lock.

/// Pages in one slab; the longest run that can be asked for.
pub(crate) const SLAB_PAGES: u32 = 32;
const NIL: u32 = u32::MAX;
const CLASSES: usize = SLAB_PAGES as usize + 1;

#[derive(Debug)]
pub(crate) struct SlabAllocator {
    maps: Vec<u32>,
    next: Vec<u32>,
    previous: Vec<u32>,
    class: Vec<u8>,
    heads: [u32; CLASSES],
    classes_filled: u64,
    /// First slab that was never carved; all behind it are wholly free.
    fresh: u32,
    pages: u32,
    pages_free: u32,
}

impl SlabAllocator {
    pub(crate) fn new(pages: u32) -> Self {
        let slabs = pages.div_ceil(SLAB_PAGES) as usize;
        let mut maps = vec![u32::MAX; slabs];
        let tail = pages % SLAB_PAGES;
        if let (Some(last), true) = (maps.last_mut(), tail != 0) {
            *last = run_mask(0, tail);
        }
        Self {
            maps,
            next: vec![NIL; slabs],
            previous: vec![NIL; slabs],
            class: vec![0; slabs],
            heads: [NIL; CLASSES],
            classes_filled: 0,
            fresh: 0,
            pages,
            pages_free: pages,
        }
    }

    pub(crate) fn pages(&self) -> u32 {
        self.pages
    }

    pub(crate) fn pages_free(&self) -> u32 {
        self.pages_free
    }

    /// Pages in slabs that were carved at least once: an upper bound of what the arena keeps resident.
    pub(crate) fn pages_carved(&self) -> u32 {
        (self.fresh * SLAB_PAGES).min(self.pages)
    }

    /// The longest run that [`Self::allocate_run`] could answer now.
    pub(crate) fn longest_run(&self) -> u32 {
        let carved = self.classes_filled.checked_ilog2().unwrap_or(0);
        let fresh = self.maps.get(self.fresh as usize).map_or(0, |map| longest_run(*map));
        carved.max(fresh)
    }

    /// Takes `count` contiguous pages and answers the first, or `None` if no slab has such a run.
    pub(crate) fn allocate_run(&mut self, count: u32) -> Option<u32> {
        assert!((1..=SLAB_PAGES).contains(&count), "a run has 1 to {SLAB_PAGES} pages, not {count}");
        let slab = self.best_slab(count)?;
        let map = self.maps[slab as usize];
        let first = run_starts(map, count).trailing_zeros();
        debug_assert!(first < SLAB_PAGES);
        self.store(slab, map & !run_mask(first, count));
        self.pages_free -= count;
        Some(slab * SLAB_PAGES + first)
    }

    /// Takes up to `out.len()` single pages, from the most fragmented slabs first; answers how many.
    pub(crate) fn allocate_pages(&mut self, out: &mut [u32]) -> usize {
        let mut taken = 0;
        while taken < out.len() {
            let Some(slab) = self.best_slab(1) else { break };
            let mut map = self.maps[slab as usize];
            while map != 0 && taken < out.len() {
                out[taken] = slab * SLAB_PAGES + map.trailing_zeros();
                map &= map - 1;
                taken += 1;
            }
            self.store(slab, map);
        }
        self.pages_free -= taken as u32;
        taken
    }

    /// Gives a run back. Panics if a page of it was free: that is a double return, which the segment types exclude.
    pub(crate) fn free_run(&mut self, first: u32, count: u32) {
        let (slab, bits) = (first / SLAB_PAGES, run_mask(first % SLAB_PAGES, count));
        let map = self.maps[slab as usize];
        assert!(map & bits == 0 && first + count <= self.pages, "pages {first}+{count} returned twice");
        self.store(slab, map | bits);
        self.pages_free += count;
    }

    /// The slab of the smallest sufficient class; carves a fresh one if none of those in use has the room.
    fn best_slab(&mut self, count: u32) -> Option<u32> {
        let sufficient = self.classes_filled & !((1_u64 << count) - 1);
        if sufficient != 0 {
            return Some(self.heads[sufficient.trailing_zeros() as usize]);
        }
        let slab = self.fresh;
        let map = *self.maps.get(slab as usize)?;
        if longest_run(map) < count {
            return None;
        }
        self.fresh += 1;
        self.link(slab, longest_run(map));
        Some(slab)
    }

    fn store(&mut self, slab: u32, map: u32) {
        self.maps[slab as usize] = map;
        let class = longest_run(map);
        if u32::from(self.class[slab as usize]) != class {
            self.unlink(slab);
            self.link(slab, class);
        }
    }

    fn link(&mut self, slab: u32, class: u32) {
        let at = slab as usize;
        self.class[at] = class as u8;
        if class == 0 {
            return;
        }
        let head = std::mem::replace(&mut self.heads[class as usize], slab);
        self.previous[at] = NIL;
        self.next[at] = head;
        if head != NIL {
            self.previous[head as usize] = slab;
        }
        self.classes_filled |= 1 << class;
    }

    fn unlink(&mut self, slab: u32) {
        let at = slab as usize;
        let class = usize::from(self.class[at]);
        if class == 0 {
            return;
        }
        let (previous, next) = (self.previous[at], self.next[at]);
        match previous {
            NIL => self.heads[class] = next,
            before => self.next[before as usize] = next,
        }
        if next != NIL {
            self.previous[next as usize] = previous;
        }
        if self.heads[class] == NIL {
            self.classes_filled &= !(1 << class);
        }
    }
}

/// `count` ones starting at bit `first`.
fn run_mask(first: u32, count: u32) -> u32 {
    debug_assert!(count >= 1 && first + count <= SLAB_PAGES);
    (u32::MAX >> (SLAB_PAGES - count)) << first
}

/// The bits at which a run of `count` ones starts.
fn run_starts(map: u32, count: u32) -> u32 {
    let mut starts = map;
    let mut covered = 1;
    while covered < count {
        let step = covered.min(count - covered);
        starts &= starts >> step;
        covered += step;
    }
    starts
}

fn longest_run(mut map: u32) -> u32 {
    let mut length = 0;
    while map != 0 {
        map &= map << 1;
        length += 1;
    }
    length
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn runs_of_a_map() {
        let check = |map: u32, count: u32, starts: u32, longest: u32| {
            assert_eq!(run_starts(map, count), starts, "map {map:b}, run {count}");
            assert_eq!(longest_run(map), longest, "map {map:b}");
        };
        check(0, 1, 0, 0);
        check(0b1, 1, 0b1, 1);
        check(0b1_0111, 2, 0b0011, 3);
        check(0b1_0111, 3, 0b0001, 3);
        check(0b1_0111, 4, 0, 3);
        check(u32::MAX, 32, 1, 32);
        check(u32::MAX << 1, 31, 2, 31);
        check(u32::MAX << 1, 32, 0, 31);
    }

    #[test]
    fn used_slabs_are_preferred_to_fresh_ones() {
        let mut slabs = SlabAllocator::new(96);
        let first = slabs.allocate_run(32).unwrap();
        slabs.free_run(first, 32);
        assert_eq!(slabs.pages_carved(), 32);
        assert_eq!(slabs.allocate_run(5), Some(0));
        assert_eq!(slabs.pages_carved(), 32);
        // A run that the carved slab cannot hold takes the next one.
        assert_eq!(slabs.allocate_run(28), Some(32));
        assert_eq!(slabs.pages_carved(), 64);
    }

    #[test]
    fn a_short_last_slab_is_used_to_its_end_and_no_further() {
        let mut slabs = SlabAllocator::new(35);
        assert_eq!(slabs.allocate_run(32), Some(0));
        assert_eq!(slabs.longest_run(), 3);
        assert_eq!(slabs.allocate_run(4), None);
        assert_eq!(slabs.allocate_run(3), Some(32));
        assert_eq!(slabs.pages_free(), 0);
        assert_eq!(slabs.allocate_run(1), None);
    }

    #[test]
    #[should_panic(expected = "returned twice")]
    fn a_double_return_is_noticed() {
        let mut slabs = SlabAllocator::new(32);
        let page = slabs.allocate_run(2).unwrap();
        slabs.free_run(page, 1);
        slabs.free_run(page, 2);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Run(u32),
        Pages(usize),
        Free(prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (1..=SLAB_PAGES).prop_map(Step::Run),
            2 => (1..40_usize).prop_map(Step::Pages),
            4 => any::<prop::sample::Index>().prop_map(Step::Free),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        /// Against a set of held pages: never overlapping, never outside, refused only when no run exists, and all
        /// free at the end.
        #[test]
        fn never_overlaps_and_ends_free(pages in 1..200_u32, steps in steps()) {
            let mut slabs = SlabAllocator::new(pages);
            let mut held: Vec<(u32, u32)> = Vec::new();
            let mut used = BTreeSet::new();
            let fits = |used: &BTreeSet<u32>, count: u32| {
                (0..pages).any(|first| {
                    first + count <= pages
                        && first / SLAB_PAGES == (first + count - 1) / SLAB_PAGES
                        && (first..first + count).all(|page| !used.contains(&page))
                })
            };
            for step in steps {
                match step {
                    Step::Run(count) => {
                        let possible = fits(&used, count);
                        let answer = slabs.allocate_run(count);
                        prop_assert_eq!(answer.is_some(), possible);
                        if let Some(first) = answer {
                            prop_assert_eq!(first / SLAB_PAGES, (first + count - 1) / SLAB_PAGES);
                            for page in first..first + count {
                                prop_assert!(page < pages && used.insert(page));
                            }
                            held.push((first, count));
                        }
                    }
                    Step::Pages(count) => {
                        let mut out = vec![0; count];
                        let taken = slabs.allocate_pages(&mut out);
                        prop_assert_eq!(taken, count.min(pages as usize - used.len()));
                        for &page in &out[..taken] {
                            prop_assert!(page < pages && used.insert(page));
                            held.push((page, 1));
                        }
                    }
                    Step::Free(index) => {
                        if !held.is_empty() {
                            let (first, count) = held.swap_remove(index.index(held.len()));
                            slabs.free_run(first, count);
                            (first..first + count).for_each(|page| { used.remove(&page); });
                        }
                    }
                }
                prop_assert_eq!(slabs.pages_free() as usize, pages as usize - used.len());
                let longest = (1..=SLAB_PAGES).rev().find(|count| fits(&used, *count)).unwrap_or(0);
                prop_assert_eq!(slabs.longest_run(), longest);
            }
            for (first, count) in held {
                slabs.free_run(first, count);
            }
            prop_assert_eq!(slabs.pages_free(), pages);
            prop_assert_eq!(slabs.longest_run(), pages.min(SLAB_PAGES));
        }
    }
}
