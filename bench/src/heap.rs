//! How much heap an operation takes: an allocator that counts while it is asked to.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed};

/// The system's allocator, and the peak of live bytes while [`peak_of`](Self::peak_of) runs.
///
/// It counts only then, so that it costs a timed operation one relaxed load an allocation.
pub struct CountingAllocator {
    counting: AtomicBool,
    /// Bytes allocated less bytes freed since counting began: negative while more old memory was freed.
    live: AtomicIsize,
    peak: AtomicIsize,
}

impl CountingAllocator {
    /// An allocator that does not count yet.
    pub const fn new() -> Self {
        Self { counting: AtomicBool::new(false), live: AtomicIsize::new(0), peak: AtomicIsize::new(0) }
    }

    /// What `operation` returns, and by how many bytes the heap was larger at its peak than at its start.
    ///
    /// It counts the whole process: no other thread may allocate meanwhile.
    pub fn peak_of<R>(&self, operation: impl FnOnce() -> R) -> (R, usize) {
        self.live.store(0, Relaxed);
        self.peak.store(0, Relaxed);
        self.counting.store(true, Relaxed);
        let result = operation();
        self.counting.store(false, Relaxed);
        (result, self.peak.load(Relaxed).unsigned_abs())
    }

    fn count(&self, allocated: usize, freed: usize) {
        if self.counting.load(Relaxed) {
            // No allocation is larger than isize::MAX (Layout), so neither cast wraps.
            let change = allocated.cast_signed() - freed.cast_signed();
            let live = self.live.fetch_add(change, Relaxed) + change;
            self.peak.fetch_max(live, Relaxed);
        }
    }
}

// SAFETY: every method hands its arguments to `System` unchanged and returns what that returns, so `System` keeps the
// contract of the trait; counting touches atomics only and allocates nothing.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size(), 0);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size(), 0);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`, which is the same here.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        self.count(new_size, layout.size());
        // SAFETY: `pointer` came from `System` by this allocator, and the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.count(0, layout.size());
        // SAFETY: `pointer` came from `System` by this allocator, and the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_that_of_live_bytes() {
        // A local allocator: the test harness allocates in other threads of the process.
        let allocator = CountingAllocator::new();
        let layout = |size| Layout::from_size_align(size, 8).expect("a legal layout");
        let ((), peak) = allocator.peak_of(|| {
            // SAFETY: no size is zero, and each pointer is freed once with the layout that it has then.
            unsafe {
                let first = allocator.alloc(layout(1000));
                allocator.dealloc(first, layout(1000));
                let second = allocator.alloc_zeroed(layout(600));
                let third = allocator.alloc(layout(100));
                let second = allocator.realloc(second, layout(600), 1200);
                allocator.dealloc(third, layout(100));
                allocator.dealloc(second, layout(1200));
            }
        });
        assert_eq!(peak, 1300);
    }

    #[test]
    fn memory_from_before_does_not_count() {
        let allocator = CountingAllocator::new();
        let layout = Layout::from_size_align(500, 8).expect("a legal layout");
        // SAFETY: the size is not zero, and each pointer is freed once with its layout.
        let ((), peak) = unsafe {
            let before = allocator.alloc(layout);
            allocator.peak_of(|| {
                allocator.dealloc(before, layout);
                let inside = allocator.alloc(layout);
                allocator.dealloc(inside, layout);
            })
        };
        assert_eq!(peak, 0);
    }
}
