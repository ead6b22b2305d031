//! Zero copy: what of the slots' memory is registered, and whether the kernel really does not copy.

use crate::transmit::Region;
use io_uring::IoUring;
use std::io;

/// A registered buffer is at most this long.
const MOST_BUFFER_BYTES: usize = 1 << 30;
/// Less than this is not worth registering.
const LEAST_BYTES: usize = 512 << 10;
/// After so many notifications it is decided whether zero copy is worth it.
const SAMPLE: u32 = 64;
/// IORING_SEND_ZC_REPORT_USAGE, a flag of the send.
pub const REPORT_USAGE: u16 = 1 << 3;
/// IORING_NOTIF_USAGE_ZC_COPIED, a bit of the notification's result.
const COPIED: u32 = 1 << 31;

/// The part of a region that a ring may send from without a copy: its first `len` bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Registered {
    len: usize,
    buffer_len: usize,
}

impl Registered {
    /// Registers as much of `region`, which is cut into slots of `slot_bytes`, as RLIMIT_MEMLOCK allows: all, a half, a
    /// quarter, and so on. The error is why not even a little could be.
    ///
    /// # Safety
    /// The region must outlive `ring`'s sends; nothing may write to what is being sent.
    pub unsafe fn register(ring: &IoUring, region: &Region, slot_bytes: usize) -> io::Result<Self> {
        let buffer_len = (MOST_BUFFER_BYTES / slot_bytes.max(1)).max(1) * slot_bytes;
        let mut len = region.len() / slot_bytes.max(1) * slot_bytes;
        loop {
            let buffers: Vec<libc::iovec> = (0..len)
                .step_by(buffer_len)
                .map(|offset| libc::iovec {
                    iov_base: region.start().wrapping_add(offset).cast_mut().cast(),
                    iov_len: buffer_len.min(len - offset),
                })
                .collect();
            // SAFETY: the buffers lie in the region, which the caller keeps.
            match unsafe { ring.submitter().register_buffers(&buffers) } {
                Ok(()) => return Ok(Self { len, buffer_len }),
                Err(error) if error.raw_os_error() != Some(libc::ENOMEM) || len / 2 < LEAST_BYTES => return Err(error),
                Err(_) => len = len / 2 / slot_bytes * slot_bytes,
            }
        }
    }

    /// Bytes registered.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The registered buffer that `memory`, a slot's, lies in.
    pub fn buffer_of(&self, memory: &std::ops::Range<usize>) -> Option<u16> {
        (memory.end <= self.len).then(|| u16::try_from(memory.start / self.buffer_len).ok()).flatten()
    }
}

/// Counts notifications and those that report a copy.
#[derive(Debug, Default)]
pub struct Usage {
    notified: u32,
    copied: u32,
}

impl Usage {
    /// A notification came with this result; says whether zero copy is to be left: the kernel copied most of a sample, which
    /// costs the copy and the notification.
    pub fn on_notification(&mut self, result: i32) -> bool {
        self.notified += 1;
        self.copied += u32::from(result.cast_unsigned() & COPIED != 0);
        if self.notified < SAMPLE {
            return false;
        }
        let leave = self.copied * 2 > self.notified;
        *self = Self::default();
        leave
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_copy_is_left_when_most_of_a_sample_was_copied() {
        let copied = COPIED.cast_signed();
        let mut usage = Usage::default();
        assert!((1..SAMPLE).all(|_| !usage.on_notification(copied)));
        assert!(usage.on_notification(copied));
        assert!((0..SAMPLE * 3).all(|index| !usage.on_notification(if index % 2 == 0 { copied } else { 0 })));
    }

    #[test]
    fn slots_lie_in_the_buffer_that_holds_them() {
        let registered = Registered { len: 300, buffer_len: 200 };
        assert_eq!(registered.buffer_of(&(100..200)), Some(0));
        assert_eq!(registered.buffer_of(&(200..300)), Some(1));
        assert_eq!(registered.buffer_of(&(300..400)), None);
        assert_eq!(Registered::default().buffer_of(&(0..100)), None);
    }
}
