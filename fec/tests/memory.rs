//! How much heap a decode takes beyond the block.

mod common;

use common::{Buffer, Noise, repair, shape};
use fleetcast_fec::Codec;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Counting {
    live: AtomicUsize,
    peak: AtomicUsize,
}

// SAFETY: every method hands its arguments to `System` unchanged and returns what that returns; counting touches atomics only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = self.live.fetch_add(layout.size(), Relaxed) + layout.size();
        self.peak.fetch_max(live, Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.live.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`, which is the same here.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting { live: AtomicUsize::new(0), peak: AtomicUsize::new(0) };

/// By how many bytes the heap was larger at its peak than at its start.
fn peak_of(operation: impl FnOnce()) -> usize {
    let before = ALLOCATOR.live.load(Relaxed);
    ALLOCATOR.peak.store(before, Relaxed);
    operation();
    ALLOCATOR.peak.load(Relaxed) - before
}

/// One test, since another one's thread would be counted too.
///
/// Counted is all that a decode allocates, the slab and the transient solver or operator included, in a codec that has never
/// been used: the encoding plan is generated, and stays cached, within the measured call.
#[test]
fn a_decode_takes_less_than_six_tenths_of_the_block() {
    for symbol_size in [1344, 1408] {
        let shape = shape(2000, symbol_size);
        let mut noise = Noise(1);
        let source = noise.bytes(shape.len());
        for lost in [1, 20, 40, 100, 200, 300, 400, 600, 1000, 2000_u32] {
            let mut symbols: Vec<(u32, Vec<u8>)> =
                (0..).zip(source.chunks(shape.symbol_size()).map(<[u8]>::to_vec)).collect();
            noise.shuffle(&mut symbols);
            symbols.truncate((2000 - lost) as usize);
            let esis: Vec<u32> = (2000..2002 + lost).collect();
            let repair = repair(&Codec::new(), shape, &source, &esis);
            symbols.extend(esis.into_iter().zip(repair.chunks(shape.symbol_size()).map(<[u8]>::to_vec)));
            let mut buffer = Buffer::new(shape, &symbols, &mut noise);

            let codec = Codec::new();
            let peak = peak_of(|| {
                codec
                    .decode(shape, &mut buffer.block, &buffer.received, &buffer.parked)
                    .expect("two symbols more than K");
            });
            assert!(buffer.block.starts_with(&source));
            let share = peak as f64 / shape.len() as f64;
            println!("T = {symbol_size}, {lost} lost: {peak} bytes, {share:.2} blocks");
            assert!(share <= 0.6, "T = {symbol_size}, {lost} lost: {share:.2} blocks");
        }
    }
}
