//! Models of the free list and its reference count under every interleaving (command in [`crate::sync`]).
//!
//! The arena of a model has a canary that loom watches: taking or returning a page reads it, the end of the arena
//! writes it. A page returned too late, or an end that does not happen after everything else, is a data race there.

use super::free_list::{FreeList, IsLast};
use super::magazine::{MAGAZINE_PAGES, Magazine};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// Stands for the arena: shared by the handle and by pages, ended by whoever is last.
struct Model {
    list: FreeList,
    canary: UnsafeCell<u64>,
    ends: AtomicUsize,
    /// Each page's bytes: two owners at a time would race here.
    pages: Vec<UnsafeCell<usize>>,
}

// SAFETY: the cells are the point of the model: loom reports any access to them that is not ordered.
unsafe impl Send for Model {}
// SAFETY: as above.
unsafe impl Sync for Model {}

impl Model {
    fn new(pages: u32) -> Arc<Self> {
        Arc::new(Self {
            list: FreeList::new(pages),
            canary: UnsafeCell::new(0),
            ends: AtomicUsize::new(0),
            pages: (0..pages).map(|_| UnsafeCell::new(0)).collect(),
        })
    }

    fn acquire(&self, magazine: &Magazine) -> Option<u32> {
        let page = self.list.acquire(magazine)?;
        self.touch(page);
        Some(page)
    }

    fn touch(&self, page: u32) {
        // SAFETY: loom checks that nobody else accesses the cell at the same time.
        self.pages[page as usize].with_mut(|bytes| unsafe { *bytes += 1 });
        // SAFETY: as above; the end of the arena is the only writer.
        self.canary.with(|canary| unsafe { assert_eq!(*canary, 0) });
    }

    fn release(&self, magazine: &Magazine, page: u32) {
        self.touch(page);
        self.finish(self.list.release(magazine, page));
    }

    fn close(&self) {
        self.finish(self.list.close());
    }

    fn finish(&self, last: IsLast) {
        if last.0 {
            // SAFETY: loom checks that every other access happens before.
            self.canary.with_mut(|canary| unsafe { *canary = 1 });
            self.ends.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn retire(&self, magazine: &loom::sync::Arc<Magazine>) {
        // SAFETY: the model outlives the call, and the list registered the magazine.
        unsafe { FreeList::retire(&raw const self.list, magazine) };
    }

    /// After all threads are done.
    fn check_ended(&self, pages: u32) {
        assert_eq!(self.ends.load(Ordering::Relaxed), 1, "ended exactly once");
        let counts = self.list.counts();
        assert_eq!((counts.in_slabs, counts.in_magazines), (pages, 0), "all pages are back");
    }
}

fn model(max_preemptions: usize, test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(max_preemptions);
    builder.check(test);
}

/// Two threads with a right to one of two pages each never see a refusal, wherever the pages lie.
#[test]
fn loom_a_page_that_is_free_is_found() {
    model(3, || {
        let model = Model::new(2);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let model = Arc::clone(&model);
                thread::spawn(move || {
                    let magazine = model.list.register().expect("the handle is there");
                    for _ in 0..2 {
                        let page = model.acquire(&magazine).expect("two pages, two holders");
                        model.release(&magazine, page);
                    }
                    model.retire(&magazine);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        model.close();
        model.check_ended(2);
    });
}

/// A thread that holds nothing leaves its magazine full; another one gets those pages.
#[test]
fn loom_pages_are_taken_from_an_idle_threads_magazine() {
    model(3, || {
        let model = Model::new(MAGAZINE_PAGES as u32);
        let idle = model.list.register().expect("the handle is there");
        let held: Vec<_> = (0..MAGAZINE_PAGES).map(|_| model.acquire(&idle).expect("free")).collect();
        let other = {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                let magazine = model.list.register().expect("the handle is there");
                let page = model.acquire(&magazine);
                if let Some(page) = page {
                    model.release(&magazine, page);
                }
                model.retire(&magazine);
            })
        };
        held.into_iter().for_each(|page| model.release(&idle, page));
        let again = model.acquire(&idle).expect("at most one page is out");
        model.release(&idle, again);
        other.join().expect("no panic");
        model.retire(&idle);
        model.close();
        model.check_ended(MAGAZINE_PAGES as u32);
    });
}

/// Pages move into a magazine that has already been drained, while those not yet drained are emptied.
#[test]
fn loom_pages_on_the_move_are_found() {
    model(3, || {
        let model = Model::new(2);
        // Two magazines of one thread stand for two threads that take turns.
        let drained_first = model.list.register().expect("the handle is there");
        let drained_last = model.list.register().expect("the handle is there");
        let held = [(); 2].map(|()| model.acquire(&drained_last).expect("free"));
        held.into_iter().for_each(|page| model.release(&drained_last, page));
        let other = {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                let magazine = model.list.register().expect("the handle is there");
                let page = model.acquire(&magazine).expect("the other thread holds one of two");
                model.release(&magazine, page);
                model.retire(&magazine);
            })
        };
        for _ in 0..2 {
            let page = model.acquire(&drained_last).expect("the other thread holds one of two");
            model.release(&drained_first, page);
        }
        other.join().expect("no panic");
        model.close();
        model.check_ended(2);
    });
}

/// The handle goes while another thread returns pages and ends: one of them ends the arena, after all else.
#[test]
fn loom_the_last_one_ends_the_arena() {
    model(3, || {
        let model = Model::new(3);
        let magazine = model.list.register().expect("the handle is there");
        let pages = [model.acquire(&magazine).expect("free"), model.acquire(&magazine).expect("free")];
        let other = {
            let (model, magazine) = (Arc::clone(&model), magazine);
            thread::spawn(move || {
                pages.into_iter().for_each(|page| model.release(&magazine, page));
                model.retire(&magazine);
            })
        };
        model.close();
        other.join().expect("no panic");
        model.check_ended(3);
    });
}

/// Two threads hold the last two pages after the handle is gone.
#[test]
fn loom_two_last_pages_end_the_arena_once() {
    model(3, || {
        let model = Model::new(2);
        let magazine = model.list.register().expect("the handle is there");
        let pages = [model.acquire(&magazine).expect("free"), model.acquire(&magazine).expect("free")];
        model.retire(&magazine);
        let threads = pages.map(|page| {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                // As a thread that never used the arena before: it may still get a magazine, or not any more.
                match model.list.register() {
                    Some(magazine) => {
                        model.release(&magazine, page);
                        model.retire(&magazine);
                    }
                    None => {
                        model.touch(page);
                        model.finish(model.list.release_run(page, 1));
                    }
                }
            })
        });
        model.close();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        model.check_ended(2);
    });
}

/// A full magazine is flushed while another thread drains all magazines and takes a run.
#[test]
fn loom_flush_and_reclaim_lose_no_page() {
    model(2, || {
        let pages = MAGAZINE_PAGES as u32 + 1;
        let model = Model::new(pages);
        let magazine = model.list.register().expect("the handle is there");
        let held: Vec<_> = (0..pages).map(|_| model.acquire(&magazine).expect("free")).collect();
        let other = {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                if let Some(first) = model.list.acquire_run(pages) {
                    (first..first + pages).for_each(|page| model.touch(page));
                    model.finish(model.list.release_run(first, pages));
                }
            })
        };
        held.into_iter().for_each(|page| model.release(&magazine, page));
        other.join().expect("no panic");
        let run = model.list.acquire_run(pages).expect("every page is free, in a magazine or not");
        model.finish(model.list.release_run(run, pages));
        model.retire(&magazine);
        model.close();
        model.check_ended(pages);
    });
}
