//! setsockopt for what no safe wrapper offers, wrapped once.

use libc::{c_int, c_void, socklen_t};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Types that the kernel takes as the value of a socket option: plain C data without padding that matters.
///
/// # Safety
/// Every byte of the type must be initialised whenever a value exists (padding zeroed by its constructor).
pub unsafe trait OptionValue: Copy {}

// SAFETY: an integer has no padding.
unsafe impl OptionValue for c_int {}

/// Sets one option of the socket.
pub fn set<T: OptionValue>(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let len = socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    let pointer = std::ptr::from_ref(value).cast::<c_void>();
    // SAFETY: the pointer is valid for `len` bytes for the whole call, and the kernel only reads them.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, pointer, len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
