//! A short time slice for threads that sleep until a date.
//!
//! A thread that wakes up on a processor where another computes waits for that one's slice to end, which is some
//! milliseconds, unless its own slice is shorter: then the kernel (6.12 and newer) lets it go first. It asks for no
//! privilege and gets no more time.

use rustix::io::Errno;
use std::mem::size_of;

/// The slice asked for: the shortest that the kernel gives.
const SLICE_NS: u64 = 100_000;

/// `struct sched_attr` of sched_setattr(2), in its first size.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime_ns: u64,
    deadline_ns: u64,
    period_ns: u64,
}

/// Asks for it for the calling thread, unless it has a policy of real time already. Older kernels ignore it.
pub fn shorten() -> Result<(), Errno> {
    let mut attributes = Attributes::default();
    let size = u32::try_from(size_of::<Attributes>()).unwrap_or_default();
    // SAFETY: the kernel writes at most `size` bytes, those of `attributes`; 0 is the calling thread.
    check(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) })?;
    if attributes.policy != u32::try_from(libc::SCHED_OTHER).unwrap_or_default() {
        return Ok(());
    }
    (attributes.size, attributes.runtime_ns) = (size, SLICE_NS);
    // SAFETY: the kernel reads `size` bytes of an initialised struct; 0 is the calling thread.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) })
}

fn check(result: libc::c_long) -> Result<(), Errno> {
    if result == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    Err(Errno::from_io_error(&error).unwrap_or(Errno::INVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_takes_it_or_ignores_it() {
        std::thread::spawn(|| assert_eq!(shorten(), Ok(()))).join().unwrap();
    }
}
