//! recvmmsg into buffers that are allocated once; super-packets are cut back into datagrams.

use libc::{c_int, c_uint, c_void, iovec, mmsghdr, msghdr};
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// Messages taken with one system call.
const MESSAGES: usize = 16;
/// The same, as recvmmsg takes it.
const MESSAGES_C: c_uint = 16;
/// Both control messages carry an int.
const VALUE_BYTES: c_uint = 4;
/// Room for one message: the largest super-packet.
const MESSAGE_BYTES: usize = 1 << 16;
/// Room for control messages: UDP_GRO and SO_RXQ_OVFL carry an int each, with their headers; 8-byte words keep it aligned.
const CONTROL_WORDS: usize = 16;

/// What one call received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Received {
    /// Messages, super-packets counted once.
    pub messages: usize,
    /// Datagrams that the kernel dropped at this socket since it was opened, when it told.
    pub dropped: Option<u32>,
}

/// Buffers for one recvmmsg after the other.
pub struct Batch {
    payloads: Vec<[u8; MESSAGE_BYTES]>,
    controls: Vec<[u64; CONTROL_WORDS]>,
    /// (bytes, bytes of a datagram) of each message received last.
    lens: Vec<(usize, usize)>,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            payloads: vec![[0; MESSAGE_BYTES]; MESSAGES],
            controls: vec![[0; CONTROL_WORDS]; MESSAGES],
            lens: Vec::with_capacity(MESSAGES),
        }
    }
}

impl Batch {
    /// Receives what is there without waiting; no message is no error.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<Received> {
        self.lens.clear();
        let mut iovecs: [iovec; MESSAGES] = std::array::from_fn(|index| iovec {
            iov_base: self.payloads[index].as_mut_ptr().cast::<c_void>(),
            iov_len: MESSAGE_BYTES,
        });
        let mut headers: [mmsghdr; MESSAGES] = std::array::from_fn(|index| {
            let control = &mut self.controls[index];
            // SAFETY: msghdr is plain C data for which all zeros is a valid value.
            let mut header: msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
            header.msg_iov = &raw mut iovecs[index];
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr().cast::<c_void>();
            header.msg_controllen = size_of::<[u64; CONTROL_WORDS]>();
            mmsghdr { msg_hdr: header, msg_len: 0 }
        });
        // SAFETY: every header points to an iovec, a payload and a control buffer that live until the call returns and
        // that nothing else refers to meanwhile; their lengths are those of the buffers.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                MESSAGES_C,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let Ok(count) = usize::try_from(count) else {
            return match io::Error::last_os_error() {
                error if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    Ok(Received::default())
                }
                error => Err(error),
            };
        };
        let mut received = Received { messages: count, dropped: None };
        for header in &headers[..count] {
            let len = usize::try_from(header.msg_len).unwrap_or(0).min(MESSAGE_BYTES);
            let control = Control::read(&header.msg_hdr);
            received.dropped = control.dropped.or(received.dropped);
            let segment = control.segment.filter(|&segment| segment > 0).unwrap_or(len.max(1));
            // A truncated message could only be one that is larger than any UDP datagram; it is not ours.
            let whole = header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0;
            self.lens.push((if whole { len } else { 0 }, segment));
        }
        Ok(received)
    }

    /// The datagrams received last, in the order in which they came.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.payloads.iter().zip(&self.lens).flat_map(|(payload, &(len, segment))| payload[..len].chunks(segment))
    }
}

/// What the control messages of one message said.
#[derive(Debug, Default)]
struct Control {
    segment: Option<usize>,
    dropped: Option<u32>,
}

impl Control {
    /// Reads the control messages that the kernel wrote for `header`.
    fn read(header: &msghdr) -> Self {
        let mut control = Self::default();
        // SAFETY: the kernel has set msg_control and msg_controllen to the control messages that it wrote into the
        // aligned buffer; CMSG_FIRSTHDR and CMSG_NXTHDR stay inside it and return null at its end.
        let mut cmsg = unsafe { libc::CMSG_FIRSTHDR(header) };
        // SAFETY: as above: not null, so it points to a whole header inside the buffer.
        while let Some(head) = unsafe { cmsg.as_ref() } {
            // SAFETY: `head` is a header inside the buffer, CMSG_LEN only computes.
            let (data, least) = unsafe { (libc::CMSG_DATA(head), libc::CMSG_LEN(VALUE_BYTES)) };
            if head.cmsg_len >= least as usize {
                // SAFETY: the message carries at least an int's bytes at `data`, which need not be aligned.
                let value = unsafe { data.cast::<c_int>().read_unaligned() };
                match (head.cmsg_level, head.cmsg_type) {
                    (libc::SOL_UDP, libc::UDP_GRO) => control.segment = usize::try_from(value).ok(),
                    (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => control.dropped = Some(value.cast_unsigned()),
                    _ => {}
                }
            }
            // SAFETY: header and cmsg are those of one message, as above.
            cmsg = unsafe { libc::CMSG_NXTHDR(header, head) };
        }
        control
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receives_datagrams_in_order_and_nothing_when_there_is_nothing() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut batch = Batch::default();
        assert_eq!(batch.receive(&receiver).unwrap().messages, 0);
        let sent: Vec<Vec<u8>> = (1..=20u8).map(|n| vec![n; usize::from(n)]).collect();
        for datagram in &sent {
            sender.send_to(datagram, receiver.local_addr().unwrap()).unwrap();
        }
        let mut received = Vec::new();
        while batch.receive(&receiver).unwrap().messages > 0 {
            received.extend(batch.datagrams().map(<[u8]>::to_vec));
        }
        assert_eq!(received, sent);
    }

    #[test]
    fn cuts_super_packets_back_into_datagrams() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        use std::os::fd::AsFd;
        if super::super::sockopt::set::<c_int>(receiver.as_fd(), libc::SOL_UDP, libc::UDP_GRO, &1).is_err()
            || super::super::sockopt::set::<c_int>(sender.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, &100).is_err()
        {
            eprintln!("SKIPPED: this kernel has no UDP_GRO or UDP_SEGMENT");
            return;
        }
        let payload: Vec<u8> = (0..=255u8).cycle().take(1050).collect();
        sender.send_to(&payload, receiver.local_addr().unwrap()).unwrap();
        let mut batch = Batch::default();
        let received = batch.receive(&receiver).unwrap();
        let datagrams: Vec<Vec<u8>> = batch.datagrams().map(<[u8]>::to_vec).collect();
        assert_eq!(received.messages, 1, "loopback keeps a super-packet whole");
        assert_eq!(datagrams.len(), 11);
        assert_eq!(datagrams.concat(), payload);
    }
}
