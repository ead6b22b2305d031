//! Memory that calls work in, kept from call to call.

use std::sync::{Mutex, PoisonError};

/// Cache lines: rows of slabs begin at one, so that no vector straddles two.
const ALIGNMENT: usize = 64;
/// Bytes of a buffer that is kept. Larger ones are rare (large K), and then they are little beside the block.
const MAX_KEPT: usize = 1 << 20;
/// Buffers that are kept: more than that many threads do not share a codec.
const MAX_BUFFERS: usize = 64;

/// Buffers that no call is using.
///
/// Asking the system for a fresh one in every call costs a page fault for each of its pages, which is a fifth of an encode.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    idle: Mutex<Vec<Vec<u8>>>,
}

impl Scratch {
    /// A buffer that goes back when it is dropped.
    pub(super) fn lease(&self) -> Lease<'_> {
        let bytes = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        Lease { scratch: self, bytes }
    }
}

/// A buffer in use.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    scratch: &'a Scratch,
    bytes: Vec<u8>,
}

impl Lease<'_> {
    /// `len` bytes of any content.
    pub(super) fn get(&mut self, len: usize) -> &mut [u8] {
        let wanted = len + ALIGNMENT;
        if self.bytes.len() < wanted {
            // Not resized: the old content would be copied.
            self.bytes = Vec::new();
            self.bytes = vec![0; wanted];
        }
        let start = self.bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        &mut self.bytes[start..start + len]
    }

    /// `len` zeros.
    pub(super) fn zeroed(&mut self, len: usize) -> &mut [u8] {
        let bytes = self.get(len);
        bytes.fill(0);
        bytes
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut idle = self.scratch.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if self.bytes.len() <= MAX_KEPT && idle.len() < MAX_BUFFERS {
            idle.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_and_used_again() {
        let scratch = Scratch::default();
        let first = {
            let mut lease = scratch.lease();
            lease.get(1000).fill(7);
            lease.get(1000).as_ptr()
        };
        assert_eq!(first.align_offset(64), 0);
        let mut lease = scratch.lease();
        assert_eq!(lease.get(900).as_ptr(), first);
        assert_eq!(lease.get(900), [7; 900]);
        assert_eq!(lease.zeroed(1000), [0; 1000]);
        assert_eq!(lease.get(5000).len(), 5000);
    }

    #[test]
    fn a_large_buffer_is_not_kept() {
        let scratch = Scratch::default();
        scratch.lease().get(MAX_KEPT);
        assert_eq!(scratch.idle.lock().expect("no panic").len(), 0);
        scratch.lease().get(MAX_KEPT - ALIGNMENT);
        assert_eq!(scratch.idle.lock().expect("no panic").len(), 1);
    }
}
