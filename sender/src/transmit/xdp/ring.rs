//! The rings that kernel and program share: one side writes entries and moves the producer's index, the other takes them
//! and moves the consumer's. Indices run on and wrap around; an entry's place is its index modulo the ring's size.

use memmap2::MmapRaw;
use rustix::net::xdp::XdpRingOffset;
use std::fmt::Debug;
use std::io;
use std::marker::PhantomData;
use std::mem::{align_of, size_of};
use std::sync::atomic::{AtomicU32, Ordering};

/// The kernel sleeps and wants a system call (linux/if_xdp.h).
const NEED_WAKEUP: u32 = 1;

/// The memory of one ring, as the kernel mapped it.
#[derive(Debug)]
struct Ring<T> {
    memory: MmapRaw,
    producer_at: usize,
    consumer_at: usize,
    entries_at: usize,
    flags_at: Option<usize>,
    size: u32,
    _entries: PhantomData<T>,
}

impl<T: Copy> Ring<T> {
    /// A ring of `size` entries (a power of two) in `memory`, whose parts lie where `offsets` says.
    fn new(memory: MmapRaw, offsets: &XdpRingOffset, size: u32) -> io::Result<Self> {
        let at = |offset: u64| usize::try_from(offset).map_err(io::Error::other);
        let ring = Self {
            producer_at: at(offsets.producer)?,
            consumer_at: at(offsets.consumer)?,
            entries_at: at(offsets.desc)?,
            flags_at: offsets.flags.map(at).transpose()?,
            memory,
            size,
            _entries: PhantomData,
        };
        let indices = [Some(ring.producer_at), Some(ring.consumer_at), ring.flags_at];
        let indices_fit = indices
            .into_iter()
            .flatten()
            .all(|at| at.is_multiple_of(align_of::<AtomicU32>()) && ring.fits(at, size_of::<AtomicU32>()));
        let entries_fit = ring.entries_at.is_multiple_of(align_of::<T>())
            && ring.fits(ring.entries_at, size as usize * size_of::<T>());
        if !size.is_power_of_two() || !indices_fit || !entries_fit {
            return Err(io::Error::other("the kernel describes a ring that does not fit its memory"));
        }
        Ok(ring)
    }

    fn fits(&self, at: usize, len: usize) -> bool {
        at.checked_add(len).is_some_and(|end| end <= self.memory.len())
    }

    fn index(&self, at: usize) -> &AtomicU32 {
        // SAFETY: `new` has checked that `at` is aligned and inside the mapping, which is page-aligned and lives as long as
        // self; the kernel accesses it atomically, and so does everybody here.
        unsafe { AtomicU32::from_ptr(self.memory.as_mut_ptr().add(at).cast()) }
    }

    fn producer(&self) -> &AtomicU32 {
        self.index(self.producer_at)
    }

    fn consumer(&self) -> &AtomicU32 {
        self.index(self.consumer_at)
    }

    fn entry(&self, index: u32) -> *mut T {
        let place = (index & (self.size - 1)) as usize;
        // SAFETY: `place` is below `size`, and `new` has checked that so many entries lie inside the mapping.
        unsafe { self.memory.as_mut_ptr().add(self.entries_at + place * size_of::<T>()).cast() }
    }
}

/// The side that writes entries.
#[derive(Debug)]
pub struct Producer<T> {
    ring: Ring<T>,
    /// Index of the next entry to write; the kernel sees it at [`submit`](Self::submit).
    next: u32,
}

impl<T: Copy> Producer<T> {
    /// The producer's side of the ring in `memory`; see [`Ring::new`].
    pub fn new(memory: MmapRaw, offsets: &XdpRingOffset, size: u32) -> io::Result<Self> {
        let ring = Ring::new(memory, offsets, size)?;
        let next = ring.producer().load(Ordering::Relaxed);
        Ok(Self { ring, next })
    }

    /// Entries that can be written now.
    pub fn room(&self) -> u32 {
        // Acquire: what the consumer read of an entry it read before it gave the entry back.
        self.ring.size - self.next.wrapping_sub(self.ring.consumer().load(Ordering::Acquire))
    }

    /// Writes an entry; false when there is no room.
    pub fn push(&mut self, entry: T) -> bool {
        if self.room() == 0 {
            return false;
        }
        // SAFETY: the entry is inside the mapping and aligned (`Ring::new`), and the consumer does not look at it before
        // `submit`, as it is beyond the producer's index.
        unsafe { self.ring.entry(self.next).write(entry) };
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Shows the consumer all that was written.
    pub fn submit(&mut self) {
        // Release: the entries are written before the index says so.
        self.ring.producer().store(self.next, Ordering::Release);
    }

    /// Submitted entries that the consumer has not taken yet.
    pub fn pending(&self) -> u32 {
        let producer = self.ring.producer().load(Ordering::Relaxed);
        producer.wrapping_sub(self.ring.consumer().load(Ordering::Acquire))
    }

    /// Whether the consumer has to be woken by a system call. Kernels that do not say always have to be.
    pub fn needs_wakeup(&self) -> bool {
        self.ring.flags_at.is_none_or(|at| self.ring.index(at).load(Ordering::Relaxed) & NEED_WAKEUP != 0)
    }
}

/// The side that takes entries.
#[derive(Debug)]
pub struct Consumer<T> {
    ring: Ring<T>,
}

impl<T: Copy> Consumer<T> {
    /// The consumer's side of the ring in `memory`; see [`Ring::new`].
    pub fn new(memory: MmapRaw, offsets: &XdpRingOffset, size: u32) -> io::Result<Self> {
        Ok(Self { ring: Ring::new(memory, offsets, size)? })
    }

    /// The next entry, if there is one.
    pub fn pop(&mut self) -> Option<T> {
        let next = self.ring.consumer().load(Ordering::Relaxed);
        // Acquire: the producer wrote the entry before it moved its index.
        if next == self.ring.producer().load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: the entry is inside the mapping and aligned (`Ring::new`), it was written by the producer, which does not
        // touch it again before the index below is moved; any bytes are a valid entry (numbers only).
        let entry = unsafe { self.ring.entry(next).read() };
        // Release: the entry was read before it is given back.
        self.ring.consumer().store(next.wrapping_add(1), Ordering::Release);
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memmap2::MmapOptions;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::os::fd::OwnedFd;

    const OFFSETS: XdpRingOffset = XdpRingOffset { producer: 0, consumer: 64, desc: 128, flags: Some(192 - 8) };

    /// Both sides of a ring in shared memory, as kernel and program see it; indices start at `start`.
    fn both(size: u32, start: u32) -> (Producer<u64>, Consumer<u64>) {
        let offsets = XdpRingOffset { desc: 256, ..OFFSETS };
        let fd: OwnedFd = rustix::fs::memfd_create("ring", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let len = 256 + u64::from(size) * 8;
        rustix::fs::ftruncate(&fd, len).unwrap();
        let map = || MmapOptions::new().len(usize::try_from(len).unwrap()).map_raw(&fd).unwrap();
        let consumer = Consumer::new(map(), &offsets, size).unwrap();
        for index in [consumer.ring.producer(), consumer.ring.consumer()] {
            index.store(start, Ordering::Relaxed);
        }
        (Producer::new(map(), &offsets, size).unwrap(), consumer)
    }

    proptest! {
        /// Whatever both sides do, the ring is a queue, also where indices wrap around.
        #[test]
        fn is_a_queue(
            size in (0u32..6).prop_map(|bits| 1 << bits),
            start in prop_oneof![any::<u32>(), (u32::MAX - 8)..],
            steps in prop::collection::vec(0u8..4, 0..200),
        ) {
            let (mut producer, mut consumer) = both(size, start);
            let (mut written, mut shown) = (VecDeque::new(), VecDeque::new());
            for (number, step) in (0u64..).zip(steps) {
                match step {
                    0 | 1 => {
                        let room = written.len() + shown.len() < size as usize;
                        prop_assert_eq!(producer.push(number), room);
                        written.extend(room.then_some(number));
                    }
                    2 => {
                        producer.submit();
                        shown.append(&mut written);
                    }
                    _ => prop_assert_eq!(consumer.pop(), shown.pop_front()),
                }
                prop_assert_eq!(producer.pending() as usize, shown.len());
                prop_assert_eq!(producer.room() as usize, size as usize - written.len() - shown.len());
            }
        }
    }

    #[test]
    fn two_threads_hand_everything_over_in_order() {
        let (mut producer, mut consumer) = both(8, u32::MAX - 100);
        let total = 20_000u64;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for number in 0..total {
                    while !producer.push(number) {
                        std::thread::yield_now();
                    }
                    producer.submit();
                }
            });
            for number in 0..total {
                let taken = loop {
                    match consumer.pop() {
                        Some(taken) => break taken,
                        None => std::thread::yield_now(),
                    }
                };
                assert_eq!(taken, number);
            }
        });
    }

    #[test]
    fn refuses_what_does_not_fit_its_memory() {
        let map = || MmapRaw::from(MmapOptions::new().len(4096).map_anon().unwrap());
        assert!(Consumer::<u64>::new(map(), &OFFSETS, 256).is_ok());
        assert!(Consumer::<u64>::new(map(), &OFFSETS, 512).is_err());
        assert!(Consumer::<u64>::new(map(), &OFFSETS, 100).is_err());
        assert!(Consumer::<u64>::new(map(), &XdpRingOffset { producer: 4093, ..OFFSETS }, 8).is_err());
        assert!(Producer::<u64>::new(map(), &XdpRingOffset { consumer: 4096, ..OFFSETS }, 8).is_err());
        assert!(Producer::<u64>::new(map(), &XdpRingOffset { desc: 132, ..OFFSETS }, 8).is_err());
        assert!(Producer::<u64>::new(map(), &XdpRingOffset { flags: Some(u64::MAX), ..OFFSETS }, 8).is_err());
    }
}
