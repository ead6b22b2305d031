//! The memory that is sent from: one mapping, cut into the slots' parts.
//!
//! One large aligned mapping is what the kernel registers or pins at once (RLIMIT_MEMLOCK counts pages), and what large
//! pages can hold.

use memmap2::{Advice, MmapMut, MmapOptions};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Huge pages of 2 MiB: x86 and arm64 have them.
const HUGE_PAGE_BITS: u8 = 21;

/// What pages a region got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// From the pool of huge pages.
    Huge,
    /// Ordinary ones, which the kernel was asked to put together into large ones.
    Ordinary,
}

/// One mapping of anonymous memory, zeroed, aligned to a page.
#[derive(Debug)]
pub struct Region {
    // Owns the mapping; nothing goes through it once it is cut.
    _map: MmapMut,
    start: *mut u8,
    len: usize,
    pages: Pages,
}

// SAFETY: a region by itself gives addresses and no access; parts of it are handed out once, without overlap (`cut`).
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Maps `len` bytes, from the pool of huge pages when `try_huge` is set and it has enough.
    pub fn new(len: usize, try_huge: bool) -> io::Result<Self> {
        let len = len.max(1);
        let huge_len = len.next_multiple_of(1 << HUGE_PAGE_BITS);
        if try_huge && let Ok(map) = MmapOptions::new().len(huge_len).huge(Some(HUGE_PAGE_BITS)).map_anon() {
            return Ok(Self::of(map, Pages::Huge));
        }
        let map = MmapOptions::new().len(len).map_anon()?;
        // Advice only: fewer TLB misses where the kernel takes it.
        let _ = map.advise(Advice::HugePage);
        Ok(Self::of(map, Pages::Ordinary))
    }

    fn of(mut map: MmapMut, pages: Pages) -> Self {
        let (start, len) = (map.as_mut_ptr(), map.len());
        Self { _map: map, start, len, pages }
    }

    /// Where it starts: what a backend registers with the kernel.
    pub fn start(&self) -> *const u8 {
        self.start
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes (never: a mapping has at least one).
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pages it got.
    pub fn pages(&self) -> Pages {
        self.pages
    }

    /// Cuts the region into as many parts of `part_len` bytes as it holds, at most `count`.
    ///
    /// It is taken whole, so that no byte is in two parts; the parts keep the mapping.
    pub fn cut(self, part_len: usize, count: usize) -> (Arc<Self>, Vec<Part>) {
        let region = Arc::new(self);
        let count = count.min(region.len / part_len.max(1));
        let parts = (0..count)
            .map(|index| Part { region: Arc::clone(&region), offset: index * part_len, len: part_len })
            .collect();
        (region, parts)
    }
}

/// A part of a region, exclusively its owner's.
#[derive(Debug)]
pub struct Part {
    region: Arc<Region>,
    offset: usize,
    len: usize,
}

impl Part {
    /// Its bytes, as a range of the region.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len
    }

    /// Its length.
    pub fn len(&self) -> usize {
        self.len
    }

    /// To read.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the range lies in the mapping, which lives as long as `region`; it was zeroed, so every byte is
        // initialized; only this part reaches it (`Region::cut`), and writing needs `&mut self`.
        unsafe { std::slice::from_raw_parts(self.region.start.add(self.offset), self.len) }
    }

    /// To write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` excludes every other reference.
        unsafe { std::slice::from_raw_parts_mut(self.region.start.add(self.offset), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_disjoint_and_outlive_the_region_s_handle() {
        let (region, mut parts) = Region::new(10_000, false).unwrap().cut(3000, 100);
        assert_eq!(parts.len(), region.len() / 3000);
        assert_eq!(region.start() as usize % 4096, 0);
        drop(region);
        for (value, part) in (1..).zip(&mut parts) {
            assert!(part.bytes().iter().all(|&byte| byte == 0));
            part.bytes_mut().fill(value);
        }
        for (value, part) in (1..).zip(&parts) {
            assert!(part.bytes().iter().all(|&byte| byte == value));
        }
        assert_eq!(parts[1].range(), 3000..6000);
    }

    #[test]
    fn without_huge_pages_it_gets_ordinary_ones() {
        let region = Region::new(2 << 20, true).unwrap();
        assert!(region.len() >= 2 << 20);
        assert!(matches!(region.pages(), Pages::Huge | Pages::Ordinary));
    }
}
