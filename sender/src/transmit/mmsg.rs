//! Backend `mmsg`: sendmmsg, with UDP GSO where the kernel has it. Works everywhere and needs no privilege.
//!
//! Batching alone wins nothing (a system call is 5 % of a send); GSO hands the kernel a whole super-packet, which it or
//! the device cuts into packets. Where GSO is refused, the same slots are sent packet by packet.

use super::{Slot, SlotLimits, Transmit};
use libc::{c_int, c_uint, c_void, iovec, mmsghdr, msghdr};
use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Messages handed over with one system call.
const MESSAGES: usize = 64;
/// Segments of a super-packet that every kernel with UDP GSO takes (newer ones take 128).
const MAX_SEGMENTS: usize = 64;
/// Largest UDP payload over IPv4.
const MAX_UDP_PAYLOAD: usize = 65_507;
/// Room for one control message: UDP_SEGMENT with a u16; 8-byte words keep it aligned.
const CONTROL_WORDS: usize = 4;
/// Pause when the device's queue is full: pushing back is normal and no error.
const BACK_PRESSURE_PAUSE: Duration = Duration::from_micros(100);

/// The backend.
#[derive(Debug)]
pub struct Mmsg {
    socket: UdpSocket,
    limits: SlotLimits,
    gso: bool,
    gso_refused: Option<io::Error>,
}

/// One message to send: a super-packet, or a single packet.
#[derive(Debug, Clone, Copy)]
struct Message<'s> {
    bytes: &'s [u8],
    /// Bytes of a packet when the kernel has to cut.
    segment: Option<u16>,
}

impl Mmsg {
    /// Sends through `socket`, which is connected to the group.
    ///
    /// `max_super_packet_bytes` is the largest sum of UDP payloads that the device takes without the kernel segmenting
    /// in software behind our back (see [`Interface::max_super_packet_bytes`](crate::interface::Interface)).
    pub fn new(socket: UdpSocket, max_super_packet_bytes: usize) -> Self {
        let limits = SlotLimits { max_packets: MAX_SEGMENTS, max_bytes: max_super_packet_bytes.min(MAX_UDP_PAYLOAD) };
        Self { socket, limits, gso: true, gso_refused: None }
    }

    /// Sends one slot, or as much of several as the kernel takes with one call.
    fn send_all(&mut self, slots: &VecDeque<Slot>) -> io::Result<()> {
        let mut sent = 0;
        loop {
            let messages: Vec<Message<'_>> = self.messages(slots).skip(sent).take(MESSAGES).collect();
            if messages.is_empty() {
                return Ok(());
            }
            match send_messages(&self.socket, &messages) {
                Ok(count) => sent += count,
                Err(error) if is_back_pressure(&error) => std::thread::sleep(BACK_PRESSURE_PAUSE),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if self.gso && sent == 0 && is_gso_refusal(&error) => {
                    self.gso = false;
                    self.gso_refused = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The messages of `slots`: a slot each with GSO, a packet each without.
    fn messages<'s>(&self, slots: &'s VecDeque<Slot>) -> impl Iterator<Item = Message<'s>> {
        let gso = self.gso;
        slots.iter().flat_map(move |slot| {
            let segment = (gso && slot.packets() > 1).then(|| u16::try_from(slot.packet_len()).ok()).flatten();
            let message_len = if segment.is_some() { slot.bytes().len() } else { slot.packet_len() };
            slot.bytes().chunks(message_len.max(1)).map(move |bytes| Message { bytes, segment })
        })
    }
}

impl Transmit for Mmsg {
    fn describe(&self) -> String {
        match &self.gso_refused {
            None => format!("mmsg: sendmmsg with UDP GSO, up to {} bytes a super-packet", self.limits.max_bytes),
            Some(error) => format!("mmsg: sendmmsg packet by packet, the kernel or device refused UDP GSO ({error})"),
        }
    }

    fn name(&self) -> &'static str {
        "mmsg"
    }

    fn limits(&self) -> SlotLimits {
        self.limits
    }

    fn make_slots(&mut self, count: usize, bytes: usize) -> Vec<Slot> {
        (0..count).map(|_| Slot::new(vec![0; bytes].into())).collect()
    }

    fn post(&mut self, slots: &mut VecDeque<Slot>, free: &mut Vec<Slot>) -> io::Result<()> {
        self.send_all(slots)?;
        // The kernel has copied everything: the slots are free at once.
        free.extend(slots.drain(..));
        Ok(())
    }
}

fn is_back_pressure(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EAGAIN))
}

/// EIO: the device has no checksum offload (older kernels); EINVAL, ENOPROTOOPT: the kernel has no UDP GSO.
fn is_gso_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::ENOPROTOOPT | libc::EOPNOTSUPP))
}

/// One sendmmsg call; returns how many messages were taken.
fn send_messages(socket: &UdpSocket, messages: &[Message<'_>]) -> io::Result<usize> {
    debug_assert!(messages.len() <= MESSAGES);
    let mut controls = [[0u64; CONTROL_WORDS]; MESSAGES];
    // SAFETY: iovec and mmsghdr are plain C data for which all zeros is a valid value.
    let mut iovecs: [iovec; MESSAGES] = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: as above.
    let mut headers: [mmsghdr; MESSAGES] = unsafe { MaybeUninit::zeroed().assume_init() };
    for (index, message) in messages.iter().enumerate() {
        // The kernel does not write through a send's iovec; the type is shared with receiving.
        iovecs[index] =
            iovec { iov_base: message.bytes.as_ptr().cast_mut().cast::<c_void>(), iov_len: message.bytes.len() };
        let header = &mut headers[index].msg_hdr;
        header.msg_iov = &raw mut iovecs[index];
        header.msg_iovlen = 1;
        if let Some(segment) = message.segment {
            write_segment_size(header, &mut controls[index], segment);
        }
    }
    let count = c_uint::try_from(messages.len()).map_err(io::Error::other)?;
    // SAFETY: `count` headers point to iovecs, payloads and control buffers that live until the call returns.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Attaches UDP_SEGMENT to a message.
fn write_segment_size(header: &mut msghdr, control: &mut [u64; CONTROL_WORDS], segment: u16) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(backend: &mut Mmsg, packets: &[usize], first: u8) -> Slot {
        let mut slot = backend.make_slots(1, 60_000).pop().unwrap();
        for &len in packets {
            slot.push(len).unwrap();
        }
        for (index, packet) in slot.packets_mut().enumerate() {
            packet.fill(first + u8::try_from(index).unwrap());
        }
        slot
    }

    fn send_and_receive(gso: bool) -> Vec<Vec<u8>> {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(receiver.local_addr().unwrap()).unwrap();
        let mut backend = Mmsg { gso, ..Mmsg::new(socket, 60_000) };
        let mut slots = VecDeque::from([
            slot(&mut backend, &[100, 100, 40], 1),
            slot(&mut backend, &[7], 4),
            slot(&mut backend, &[9; 60], 5),
        ]);
        let mut free = Vec::new();
        backend.post(&mut slots, &mut free).unwrap();
        assert_eq!((slots.len(), free.len()), (0, 3));
        let mut buffer = [0; 2000];
        (0..64).map(|_| receiver.recv(&mut buffer).map(|len| buffer[..len].to_vec()).unwrap()).collect()
    }

    #[test]
    fn puts_the_same_packets_on_the_wire_with_and_without_gso() {
        let with = send_and_receive(true);
        assert_eq!(with.iter().map(Vec::len).take(5).collect::<Vec<_>>(), [100, 100, 40, 7, 9]);
        assert_eq!(with[2], [3; 40]);
        assert_eq!(with, send_and_receive(false));
    }

    #[test]
    fn reports_what_is_no_back_pressure() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut backend = Mmsg::new(socket, 60_000);
        let mut slots = VecDeque::from([slot(&mut backend, &[100], 0)]);
        // The socket is not connected, so there is no destination.
        assert!(backend.post(&mut slots, &mut Vec::new()).is_err());
    }
}
