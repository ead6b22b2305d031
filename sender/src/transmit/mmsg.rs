//! Backend `mmsg`: sendmmsg, with UDP GSO where the kernel has it. Works everywhere and needs no privilege.
//!
//! Batching alone wins nothing (a system call is 5 % of a send); GSO hands the kernel a whole super-packet, which it or
//! the device cuts into packets. Where GSO is refused, the same slots are sent packet by packet. The kernel copies, so
//! a slot is free again as soon as it is posted.

use super::layout::{Layout, SlotShape};
use super::message::{Control, MAX_SEGMENTS, MAX_UDP_PAYLOAD, describe, is_back_pressure, is_gso_refusal};
use super::region::Region;
use super::{Backend, Slot, SlotLimits, Started, Transmit, set_max_pacing_rate};
use libc::{c_uint, iovec, mmsghdr};
use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Messages handed over with one system call.
const MESSAGES: usize = 64;
/// Pause when the device's queue is full: pushing back is normal and no error.
const BACK_PRESSURE_PAUSE: Duration = Duration::from_micros(100);

/// The backend.
#[derive(Debug)]
pub struct Mmsg {
    sockets: Vec<UdpSocket>,
    limits: SlotLimits,
    gso: bool,
    huge_pages: bool,
}

impl Mmsg {
    /// Sends through `sockets`, one a sending thread, each connected to the group.
    ///
    /// `max_super_packet_bytes` is the largest sum of UDP payloads that the device takes without the kernel segmenting
    /// in software behind our back (see [`Interface::max_super_packet_bytes`](crate::interface::Interface)). With
    /// `huge_pages` the slots lie in the pool of huge pages where that has room.
    pub fn new(sockets: Vec<UdpSocket>, max_super_packet_bytes: usize, huge_pages: bool) -> Self {
        let limits = SlotLimits { max_packets: MAX_SEGMENTS, max_bytes: max_super_packet_bytes.min(MAX_UDP_PAYLOAD) };
        Self { sockets, limits, gso: true, huge_pages }
    }
}

impl Backend for Mmsg {
    fn name(&self) -> &'static str {
        "mmsg"
    }

    fn describe(&self) -> String {
        format!("mmsg: sendmmsg with UDP GSO, up to {} bytes a super-packet", self.limits.max_bytes)
    }

    fn limits(&self) -> SlotLimits {
        self.limits
    }

    fn start(self: Box<Self>, count: usize, shape: &SlotShape) -> io::Result<Started> {
        let layout = Layout::Contiguous;
        let slot_bytes = layout.slot_bytes(shape);
        let (region, parts) = Region::new(slot_bytes * count, self.huge_pages)?.cut(slot_bytes, count);
        let slots = parts.into_iter().map(|part| Slot::new(part, &layout)).collect();
        let gso = self.gso;
        let senders = self
            .sockets
            .into_iter()
            .map(|socket| Box::new(MmsgSender { socket, gso, gso_refused: None }) as Box<dyn Transmit>)
            .collect();
        Ok(Started { slots, senders, pages: region.pages() })
    }
}

/// One thread's half.
#[derive(Debug)]
struct MmsgSender {
    socket: UdpSocket,
    gso: bool,
    gso_refused: Option<io::Error>,
}

/// The next message to send: a slot of the queue, and the first of its packets that was not sent yet.
#[derive(Debug, Clone, Copy, Default)]
struct Position {
    slot: usize,
    packet: usize,
}

impl MmsgSender {
    fn send_all(&mut self, slots: &VecDeque<Slot>) -> io::Result<()> {
        let mut next = Position::default();
        while next.slot < slots.len() {
            match send_some(&self.socket, slots, next, self.gso) {
                Ok(after) => next = after,
                Err(error) => match error.raw_os_error() {
                    Some(errno) if is_back_pressure(errno) => std::thread::sleep(BACK_PRESSURE_PAUSE),
                    Some(libc::EINTR) => {}
                    Some(errno) if self.gso && slots[next.slot].packets() > 1 && is_gso_refusal(errno) => {
                        self.gso = false;
                        self.gso_refused = Some(error);
                    }
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }
}

impl Transmit for MmsgSender {
    fn post(&mut self, slots: &mut VecDeque<Slot>, free: &mut Vec<Slot>) -> io::Result<()> {
        self.send_all(slots)?;
        // The kernel has copied everything: the slots are free at once.
        free.extend(slots.drain(..));
        Ok(())
    }

    fn reclaim(&mut self, _free: &mut Vec<Slot>) -> io::Result<usize> {
        Ok(0)
    }

    fn finish(&mut self, _free: &mut Vec<Slot>) -> io::Result<()> {
        Ok(())
    }

    fn pace_at(&mut self, bytes_per_s: u64) -> io::Result<()> {
        set_max_pacing_rate(&self.socket, bytes_per_s)
    }

    fn findings(&self) -> Option<String> {
        let error = self.gso_refused.as_ref()?;
        Some(format!("packet by packet, as the kernel or the device refused UDP GSO ({error})"))
    }
}

/// Sends with one system call as many messages from `next` on as the kernel takes; returns what comes after them.
///
/// A message is a slot with `gso`, else a packet.
fn send_some(socket: &UdpSocket, slots: &VecDeque<Slot>, next: Position, gso: bool) -> io::Result<Position> {
    let mut controls: [Control; MESSAGES] = [Control::default(); MESSAGES];
    // SAFETY: iovec and mmsghdr are plain C data for which all zeros is a valid value.
    let mut iovecs: [iovec; MESSAGES] = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: as above.
    let mut headers: [mmsghdr; MESSAGES] = unsafe { MaybeUninit::zeroed().assume_init() };
    let mut afters = [Position::default(); MESSAGES];
    let mut count = 0;
    let mut at = next;
    while count < MESSAGES && at.slot < slots.len() {
        let slot = &slots[at.slot];
        let rest = &slot.bytes()[at.packet * slot.packet_len()..];
        let whole = gso || at.packet + 1 >= slot.packets();
        let segment = (gso && slot.packets() - at.packet > 1).then(|| u16::try_from(slot.packet_len()).ok()).flatten();
        let bytes = if whole { rest } else { &rest[..slot.packet_len()] };
        describe(&mut headers[count].msg_hdr, &mut iovecs[count], &mut controls[count], bytes, segment);
        at = if whole { Position { slot: at.slot + 1, packet: 0 } } else { Position { packet: at.packet + 1, ..at } };
        afters[count] = at;
        count += 1;
    }
    let len = c_uint::try_from(count).map_err(io::Error::other)?;
    // SAFETY: `len` headers point to iovecs, payloads and control buffers that live until the call returns.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), len, 0) };
    let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
    Ok(sent.checked_sub(1).map_or(next, |last| afters[last]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(gso: bool, socket: UdpSocket) -> Started {
        let shape = SlotShape { packets: 64, packet_len: 900, largest_packet: 900 };
        Box::new(Mmsg { gso, ..Mmsg::new(vec![socket], 60_000, false) }).start(4, &shape).unwrap()
    }

    fn fill(mut slot: Slot, packets: &[usize], first: u8) -> Slot {
        packets.iter().for_each(|&len| slot.push(len).unwrap());
        for (value, packet) in (first..).zip(slot.packets_mut()) {
            packet.fill(value);
        }
        slot
    }

    fn send_and_receive(gso: bool) -> Vec<Vec<u8>> {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(receiver.local_addr().unwrap()).unwrap();
        let mut started = started(gso, socket);
        let packets: [&[usize]; 3] = [&[100, 100, 40], &[7], &[9; 60]];
        let mut slots: VecDeque<Slot> = packets
            .into_iter()
            .zip([1, 4, 5])
            .map(|(packets, first)| fill(started.slots.pop().unwrap(), packets, first))
            .collect();
        let mut free = Vec::new();
        started.senders[0].post(&mut slots, &mut free).unwrap();
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
        let mut started = started(true, UdpSocket::bind("127.0.0.1:0").unwrap());
        let mut slots = VecDeque::from([fill(started.slots.pop().unwrap(), &[100], 0)]);
        // The socket is not connected, so there is no destination.
        assert!(started.senders[0].post(&mut slots, &mut Vec::new()).is_err());
    }
}
