//! What the kernel is told about a message: where its bytes are, and how long the packets are that it is cut into.

use libc::{c_int, c_uint, c_void, iovec, msghdr};

/// Segments of a super-packet that every kernel with UDP GSO takes (newer ones take 128).
pub const MAX_SEGMENTS: usize = 64;
/// Largest UDP payload over IPv4.
pub const MAX_UDP_PAYLOAD: usize = 65_507;
/// Room for one control message: UDP_SEGMENT with a u16; 8-byte words keep it aligned.
const CONTROL_WORDS: usize = 4;

/// Memory of a message's control data.
pub type Control = [u64; CONTROL_WORDS];

/// Fills `header`, `part` and `control` for one message. What `bytes`, `part` and `control` are must stay where they are
/// until the kernel has taken the message.
///
/// `segment` is the length of the packets that the kernel cuts the message into; with `None` it is one packet.
pub fn describe(header: &mut msghdr, part: &mut iovec, control: &mut Control, bytes: &[u8], segment: Option<u16>) {
    // The kernel does not write through a send's iovec; the type is shared with receiving.
    *part = iovec { iov_base: bytes.as_ptr().cast_mut().cast::<c_void>(), iov_len: bytes.len() };
    header.msg_iov = part;
    header.msg_iovlen = 1;
    (header.msg_control, header.msg_controllen) = (std::ptr::null_mut(), 0);
    if let Some(segment) = segment {
        write_segment_size(header, control, segment);
    }
}

/// Attaches UDP_SEGMENT to a message.
fn write_segment_size(header: &mut msghdr, control: &mut Control, segment: u16) {
    /// UDP_SEGMENT is a u16.
    const VALUE_LEN: c_uint = 2;
    header.msg_control = control.as_mut_ptr().cast::<c_void>();
    // SAFETY: CMSG_SPACE and CMSG_LEN only compute; the space for a u16 is 24 bytes or less, and `control` has 32.
    let (space, len) = unsafe { (libc::CMSG_SPACE(VALUE_LEN), libc::CMSG_LEN(VALUE_LEN)) };
    header.msg_controllen = space as usize;
    // SAFETY: msg_control points to `control`, which is aligned for a header and has room for it and the value, so the
    // first header exists and header and data may be written.
    unsafe {
        let cmsg = libc::CMSG_FIRSTHDR(header);
        (*cmsg).cmsg_level = libc::SOL_UDP;
        (*cmsg).cmsg_type = libc::UDP_SEGMENT as c_int;
        (*cmsg).cmsg_len = len as usize;
        libc::CMSG_DATA(cmsg).cast::<u16>().write_unaligned(segment);
    }
}

/// The kernel has no room at the moment: it pushes back, and nothing is wrong.
pub fn is_back_pressure(errno: i32) -> bool {
    matches!(errno, libc::ENOBUFS | libc::EAGAIN)
}

/// EIO: the device has no checksum offload (older kernels); EINVAL, ENOPROTOOPT: the kernel has no UDP GSO.
pub fn is_gso_refusal(errno: i32) -> bool {
    matches!(errno, libc::EIO | libc::EINVAL | libc::ENOPROTOOPT | libc::EOPNOTSUPP)
}
