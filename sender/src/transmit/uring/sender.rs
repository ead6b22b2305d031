//! One ring and its socket: a sending thread's half of the backend.

use super::batch::{Batch, Ending, MESSAGES};
use super::lent::Lent;
use super::zero_copy::{REPORT_USAGE, Registered, Usage};
use super::{MOST_LENT, Slot, Transmit};
use crate::transmit::message::{Control, describe, is_back_pressure, is_gso_refusal};
use crate::transmit::{Region, set_max_pacing_rate};
use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, cqueue, opcode, types};
use libc::{c_int, iovec, msghdr, socklen_t};
use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pause when the device's queue is full: pushing back is normal and no error.
const BACK_PRESSURE_PAUSE: Duration = Duration::from_micros(100);
/// How long the kernel may read what was sent, after the end.
const LONGEST_FINISH: Duration = Duration::from_secs(5);

/// One thread's half.
pub struct UringSender {
    ring: IoUring,
    socket: UdpSocket,
    gso: bool,
    gso_refused: Option<io::Error>,
    registered: Registered,
    /// The segment size that the socket cuts zero-copy sends into; 0 without zero copy.
    segment: usize,
    usage: Usage,
    finding: Option<String>,
    lent: Lent<Slot>,
    /// Lent slots that are not handed over whole, in order; of the first, so many packets are.
    queue: VecDeque<u32>,
    packets_done: usize,
    messages: Box<Messages>,
    // Outlives the ring, which reads from it.
    _region: Arc<Region>,
}

/// Memory that the kernel reads while a batch is under way.
struct Messages {
    headers: [msghdr; MESSAGES],
    parts: [iovec; MESSAGES],
    controls: [Control; MESSAGES],
    /// The slot of each message, and its packets.
    of: [(u32, usize); MESSAGES],
}

// SAFETY: the pointers in `messages` lead into `messages` itself and into lent slots, which are moved along with the rest.
unsafe impl Send for UringSender {}

impl std::fmt::Debug for UringSender {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("UringSender").field("lent", &self.lent.len()).field("gso", &self.gso).finish()
    }
}

impl UringSender {
    /// Sends slots of `region`.
    pub fn new(ring: IoUring, socket: UdpSocket, gso: bool, region: Arc<Region>) -> Self {
        let messages = Messages {
            // SAFETY: msghdr is plain C data for which all zeros is a valid value.
            headers: unsafe { MaybeUninit::zeroed().assume_init() },
            // SAFETY: and so is iovec.
            parts: unsafe { MaybeUninit::zeroed().assume_init() },
            controls: [Control::default(); MESSAGES],
            of: [(0, 0); MESSAGES],
        };
        Self {
            ring,
            socket,
            gso,
            gso_refused: None,
            registered: Registered::default(),
            segment: 0,
            usage: Usage::default(),
            finding: None,
            lent: Lent::new(MOST_LENT),
            queue: VecDeque::with_capacity(MOST_LENT as usize),
            packets_done: 0,
            messages: Box::new(messages),
            _region: region,
        }
    }

    /// Registers the region for zero copy of super-packets of `packet_len`-byte packets; what cannot be had is said at the end.
    pub fn register(&mut self, slot_bytes: usize, packet_len: usize) {
        // SAFETY: `_region` is dropped after the ring, and slots are only written by who holds them, which no one does while
        // they are lent.
        let registered = unsafe { Registered::register(&self.ring, &self._region, slot_bytes) };
        let result = registered.and_then(|registered| {
            set_segment(&self.socket, packet_len)?;
            Ok(registered)
        });
        match result {
            Ok(registered) => {
                (self.registered, self.segment) = (registered, packet_len);
                if registered.len() < self._region.len() / slot_bytes * slot_bytes {
                    let kib = registered.len() >> 10;
                    self.finding = Some(format!(
                        "without a copy from {kib} KiB of the slots only: RLIMIT_MEMLOCK (`ulimit -l`) allows no more"
                    ));
                }
            }
            Err(error) => {
                self.finding = Some(format!(
                    "with a copy, as no memory could be registered ({error}): raise RLIMIT_MEMLOCK (`ulimit -l`)"
                ));
            }
        }
    }

    /// Lends slots as far as there is room.
    fn lend(&mut self, slots: &mut VecDeque<Slot>) {
        while let Some(slot) = if self.lent.is_full() { None } else { slots.pop_front() } {
            if let Ok(id) = self.lent.lend(slot) {
                self.queue.push_back(id);
            }
        }
    }

    /// Hands over what is queued, in order.
    fn hand_over(&mut self, free: &mut Vec<Slot>) -> io::Result<()> {
        while !self.queue.is_empty() {
            let len = self.push_batch()?;
            let mut batch = Batch::new(len);
            self.wait_for(&mut batch, free)?;
            let (sent, errno) = match batch.ending() {
                Ending::Sent => (len, None),
                Ending::Refused(sent, errno) => (sent, Some(errno)),
            };
            self.note_sent(sent, free);
            match errno {
                None | Some(libc::EINTR) => {}
                Some(errno) if is_back_pressure(errno) => std::thread::sleep(BACK_PRESSURE_PAUSE),
                Some(errno) if self.segment > 0 && self.is_next_zero_copy() => {
                    let error = io::Error::from_raw_os_error(errno);
                    self.leave_zero_copy(format!("with a copy, as zero copy was refused ({error})"));
                }
                Some(errno) if self.gso && is_gso_refusal(errno) => {
                    self.gso = false;
                    self.gso_refused = Some(io::Error::from_raw_os_error(errno));
                }
                Some(errno) => return Err(io::Error::from_raw_os_error(errno)),
            }
        }
        Ok(())
    }

    /// Pushes the next messages of the queue into the ring, linked, and returns how many.
    fn push_batch(&mut self) -> io::Result<usize> {
        let (mut count, mut done) = (0, self.packets_done);
        for &id in &self.queue {
            let Some(slot) = self.lent.get(id) else { break };
            while done < slot.packets() && count < MESSAGES {
                let packets = if self.gso { slot.packets() - done } else { 1 };
                let entry =
                    self.messages.write(count, &self.socket, slot, done, packets, self.segment, &self.registered);
                self.messages.of[count] = (id, packets);
                let last = count + 1 == MESSAGES
                    || (id == self.queue[self.queue.len() - 1] && done + packets == slot.packets());
                let entry = entry.user_data(user_data(id, count));
                let entry = if last { entry } else { entry.flags(Flags::IO_LINK) };
                // SAFETY: header, iovec and control stay in `messages` until every result of the batch has come, and the
                // bytes until the slot's last notification.
                unsafe { self.ring.submission().push(&entry) }.map_err(|_| io::Error::other("the ring is full"))?;
                (count, done) = (count + 1, done + packets);
            }
            if count == MESSAGES {
                break;
            }
            done = 0;
        }
        Ok(count)
    }

    /// Submits, and waits for the results of `batch`: the sends themselves, not their notifications.
    fn wait_for(&mut self, batch: &mut Batch, free: &mut Vec<Slot>) -> io::Result<()> {
        while batch.pending() > 0 {
            match self.ring.submit_and_wait(batch.pending()) {
                Ok(_) => {}
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)) => {}
                Err(error) => return Err(error),
            }
            self.take_completions(Some(batch), free);
        }
        Ok(())
    }

    fn take_completions(&mut self, mut batch: Option<&mut Batch>, free: &mut Vec<Slot>) {
        let mut copies = false;
        for completion in self.ring.completion() {
            let (id, index) = split_user_data(completion.user_data());
            if cqueue::notif(completion.flags()) {
                copies |= self.usage.on_notification(completion.result());
                free.extend(self.lent.notified(id));
                continue;
            }
            if cqueue::more(completion.flags()) {
                self.lent.expect_notification(id);
            }
            if let Some(batch) = &mut batch {
                batch.on_result(index, completion.result());
            }
        }
        if copies {
            self.leave_zero_copy("with a copy, as the kernel copied nevertheless (it reports that)".to_owned());
        }
    }

    /// The first `count` messages of the batch were sent.
    fn note_sent(&mut self, count: usize, free: &mut Vec<Slot>) {
        for index in 0..count {
            let (id, packets) = self.messages.of[index];
            self.packets_done += packets;
            if self.lent.get(id).is_none_or(|slot| self.packets_done >= slot.packets()) {
                self.queue.pop_front();
                self.packets_done = 0;
                free.extend(self.lent.handed_over(id));
            }
        }
    }

    fn is_next_zero_copy(&self) -> bool {
        let slot = self.queue.front().and_then(|&id| self.lent.get(id));
        slot.is_some_and(|slot| self.registered.buffer_of(&slot.memory()).is_some())
    }

    fn leave_zero_copy(&mut self, finding: String) {
        if self.segment > 0 {
            // Messages say themselves how they are cut.
            let _ = set_segment(&self.socket, 0);
            (self.segment, self.registered, self.finding) = (0, Registered::default(), Some(finding));
        }
    }
}

impl Messages {
    /// Message `index`: `packets` packets of `slot` from `first` on.
    #[expect(clippy::too_many_arguments, reason = "what a message is made of")]
    fn write(
        &mut self,
        index: usize,
        socket: &UdpSocket,
        slot: &Slot,
        first: usize,
        packets: usize,
        segment: usize,
        registered: &Registered,
    ) -> Entry {
        let fd = types::Fd(socket.as_raw_fd());
        let rest = &slot.bytes()[first * slot.packet_len()..];
        let bytes = if first + packets == slot.packets() { rest } else { &rest[..packets * slot.packet_len()] };
        let cut_by_socket = slot.packet_len() == segment || (packets == 1 && bytes.len() <= segment);
        if cut_by_socket && let Some(buffer) = registered.buffer_of(&slot.memory()) {
            // A UDP payload is shorter than 64 KiB.
            let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            return opcode::SendZc::new(fd, bytes.as_ptr(), len)
                .buf_index(Some(buffer))
                .zc_flags(REPORT_USAGE)
                .flags(libc::MSG_DONTWAIT)
                .build();
        }
        // Where the socket has a segment size of its own, every message has to name its.
        let names_segment = packets > 1 || segment > 0;
        let own = names_segment.then(|| u16::try_from(slot.packet_len()).ok()).flatten();
        let header = &mut self.headers[index];
        describe(header, &mut self.parts[index], &mut self.controls[index], bytes, own);
        opcode::SendMsg::new(fd, header).flags(libc::MSG_DONTWAIT.cast_unsigned()).build()
    }
}

impl Transmit for UringSender {
    fn post(&mut self, slots: &mut VecDeque<Slot>, free: &mut Vec<Slot>) -> io::Result<()> {
        while !slots.is_empty() {
            self.lend(slots);
            self.hand_over(free)?;
            if self.lent.is_full() && self.reclaim(free)? >= MOST_LENT as usize {
                std::thread::sleep(BACK_PRESSURE_PAUSE);
            }
        }
        Ok(())
    }

    fn reclaim(&mut self, free: &mut Vec<Slot>) -> io::Result<usize> {
        if self.lent.len() > 0 {
            self.take_completions(None, free);
        }
        Ok(self.lent.len())
    }

    fn finish(&mut self, free: &mut Vec<Slot>) -> io::Result<()> {
        // After an error some are not handed over, and never will be.
        while let Some(id) = self.queue.pop_front() {
            free.extend(self.lent.handed_over(id));
        }
        let until = Instant::now() + LONGEST_FINISH;
        while self.reclaim(free)? > 0 && Instant::now() < until {
            std::thread::sleep(BACK_PRESSURE_PAUSE);
        }
        Ok(())
    }

    fn pace_at(&mut self, bytes_per_s: u64) -> io::Result<()> {
        set_max_pacing_rate(&self.socket, bytes_per_s)
    }

    fn findings(&self) -> Option<String> {
        let gso = self.gso_refused.as_ref();
        let gso = gso.map(|error| format!("packet by packet, as the kernel or the device refused UDP GSO ({error})"));
        gso.or_else(|| self.finding.clone())
    }
}

fn user_data(id: u32, index: usize) -> u64 {
    u64::from(id) << 32 | index as u64
}

fn split_user_data(data: u64) -> (u32, usize) {
    // Both were put together from no more bits.
    (u32::try_from(data >> 32).unwrap_or(u32::MAX), usize::try_from(data & u64::from(u32::MAX)).unwrap_or(usize::MAX))
}

/// Has the socket cut what is sent into packets of `bytes` bytes; 0 for not at all.
fn set_segment(socket: &UdpSocket, bytes: usize) -> io::Result<()> {
    let value = c_int::try_from(bytes).map_err(io::Error::other)?;
    let len = socklen_t::try_from(size_of::<c_int>()).map_err(io::Error::other)?;
    // SAFETY: the option's value is an int, which is read during the call.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, (&raw const value).cast(), len)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
