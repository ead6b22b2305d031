//! One sending thread's queue: descriptors of whole slots go in, completions bring the slots back.

use super::socket::{Mode, RING_ENTRIES, XdpSocket};
use crate::transmit::message::is_back_pressure;
use crate::transmit::region::Region;
use crate::transmit::{Slot, Transmit};
use rustix::io::Errno;
use rustix::net::xdp::{XdpDesc, XdpDescOptions};
use rustix::net::{SendFlags, send};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Pause when the device's queue is full: pushing back is normal and no error.
const BACK_PRESSURE_PAUSE: Duration = Duration::from_micros(50);
/// A device that gives nothing back for this long never will.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which slots the kernel holds, by their place in the memory.
#[derive(Debug)]
struct Lent {
    slot_bytes: usize,
    /// The slot at each place, and how many of its descriptors have not come back.
    places: Vec<(Option<Slot>, u32)>,
    slots: usize,
    descriptors: u32,
}

impl Lent {
    fn new(slot_bytes: usize, slots: usize) -> Self {
        Self { slot_bytes, places: (0..slots).map(|_| (None, 0)).collect(), slots: 0, descriptors: 0 }
    }

    fn lend(&mut self, slot: Slot, descriptors: u32) {
        let place = slot.memory().start / self.slot_bytes;
        self.places[place] = (Some(slot), descriptors);
        self.slots += 1;
        self.descriptors += descriptors;
    }

    /// A descriptor at `address` came back: the slot, if that was its last. Addresses that were never lent are ignored.
    fn give_back(&mut self, address: u64) -> Option<Slot> {
        let (slot, left) = self.places.get_mut(usize::try_from(address).ok()? / self.slot_bytes)?;
        *left = left.checked_sub(1)?;
        self.descriptors -= 1;
        if *left > 0 {
            return None;
        }
        self.slots -= usize::from(slot.is_some());
        slot.take()
    }
}

/// One thread's half of the backend.
#[derive(Debug)]
pub struct Queue {
    socket: XdpSocket,
    mode: Mode,
    chunk_bytes: usize,
    lent: Lent,
    /// Packets that the device took and dropped.
    dropped: u64,
    /// The memory stays mapped as long as the kernel may read it.
    _region: Arc<Region>,
}

impl Queue {
    /// Sends slots of `slot_bytes` bytes, of which `region` holds `slots`, through `socket`.
    pub fn new(
        socket: XdpSocket,
        mode: Mode,
        chunk_bytes: usize,
        slot_bytes: usize,
        slots: usize,
        region: Arc<Region>,
    ) -> Self {
        Self { socket, mode, chunk_bytes, lent: Lent::new(slot_bytes, slots), dropped: 0, _region: region }
    }

    /// Writes the descriptors of a slot and returns their number.
    fn describe(&mut self, slot: &Slot) -> u32 {
        let mut count = 0;
        for frame in slot.frames() {
            let mut at = frame.start;
            while at < frame.end {
                // A frame that is longer than a chunk continues in the next descriptor.
                let end = frame.end.min((at / self.chunk_bytes + 1) * self.chunk_bytes);
                let is_last = end == frame.end;
                let descriptor = XdpDesc {
                    addr: at as u64,
                    len: u32::try_from(end - at).unwrap_or_default(),
                    options: if is_last { XdpDescOptions::empty() } else { XdpDescOptions::XDP_PKT_CONTD },
                };
                // `wait_for_room` has made sure that it fits.
                self.socket.tx.push(descriptor);
                count += 1;
                at = end;
            }
        }
        count
    }

    /// Waits until a slot's descriptors fit the ring, and their completions the other one.
    fn wait_for_room(&mut self, slot: &Slot, free: &mut Vec<Slot>) -> io::Result<()> {
        let most = slot.packets() * slot.packet_len().div_ceil(self.chunk_bytes).max(1) + slot.packets();
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let fits = |queue: &Self| queue.socket.tx.room() >= most && queue.lent.descriptors + most <= RING_ENTRIES;
        if most > RING_ENTRIES {
            return Err(io::Error::other("a slot has more frames than the ring"));
        }
        self.wait_until(free, fits)
    }

    /// Wakes the kernel and takes slots back until `done` says so.
    fn wait_until(&mut self, free: &mut Vec<Slot>, done: impl Fn(&Self) -> bool) -> io::Result<()> {
        let mut seen = (self.lent.descriptors, self.socket.tx.pending());
        let mut since = None;
        loop {
            self.take_back(free);
            if done(self) {
                return Ok(());
            }
            self.wake()?;
            let now = (self.lent.descriptors, self.socket.tx.pending());
            if now != seen {
                (seen, since) = (now, None);
                continue;
            }
            if since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the device gives no frames back"));
            }
            thread::sleep(BACK_PRESSURE_PAUSE);
        }
    }

    /// Has the kernel look at the ring, where it does not by itself.
    fn wake(&mut self) -> io::Result<()> {
        if !self.socket.tx.needs_wakeup() {
            return Ok(());
        }
        match send(&self.socket, &[], SendFlags::DONTWAIT) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            // Of a packet that the device has dropped: it is gone, and what follows is sent.
            Err(Errno::BUSY) => {
                self.dropped += u64::from(self.mode == Mode::Copy);
                Ok(())
            }
            // Some dozens of frames a call, and then this.
            Err(errno) if is_back_pressure(errno.raw_os_error()) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn take_back(&mut self, free: &mut Vec<Slot>) {
        while let Some(address) = self.socket.completed.pop() {
            free.extend(self.lent.give_back(address));
        }
    }
}

impl Transmit for Queue {
    fn post(&mut self, slots: &mut VecDeque<Slot>, free: &mut Vec<Slot>) -> io::Result<()> {
        while let Some(slot) = slots.pop_front() {
            self.wait_for_room(&slot, free)?;
            let descriptors = self.describe(&slot);
            self.lent.lend(slot, descriptors);
            self.socket.tx.submit();
        }
        match self.mode {
            // The kernel copies inside the call that wakes it.
            Mode::Copy => self.wait_until(free, |queue| queue.socket.tx.pending() == 0),
            Mode::ZeroCopy => self.wake(),
        }
    }

    fn reclaim(&mut self, free: &mut Vec<Slot>) -> io::Result<usize> {
        self.take_back(free);
        Ok(self.lent.slots)
    }

    fn finish(&mut self, free: &mut Vec<Slot>) -> io::Result<()> {
        self.wait_until(free, |queue| queue.lent.slots == 0)
    }

    fn findings(&self) -> Option<String> {
        (self.dropped > 0).then(|| format!("the device dropped {} packets; a lower rate would help", self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transmit::Layout;
    use proptest::prelude::*;

    const SLOT_BYTES: usize = 256;

    proptest! {
        /// In whatever order descriptors come back, a slot comes back with its last one, and once.
        #[test]
        fn slots_come_back_with_their_last_descriptor(
            counts in prop::collection::vec(1u32..5, 1..20),
            order in any::<u64>(),
            stray in prop::collection::vec(any::<u64>(), 0..5),
        ) {
            let (_, parts) = Region::new(SLOT_BYTES * counts.len(), false).unwrap().cut(SLOT_BYTES, counts.len());
            let mut lent = Lent::new(SLOT_BYTES, counts.len());
            let mut addresses = Vec::new();
            for (part, &count) in parts.into_iter().zip(&counts) {
                let start = part.range().start as u64;
                addresses.extend((0..count).map(|index| start + u64::from(index) * 64));
                lent.lend(Slot::new(part, &Layout::Contiguous), count);
            }
            // A cheap shuffle is enough here.
            addresses.sort_by_key(|address| (address ^ order).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut left = counts.clone();
            for address in addresses {
                let place = usize::try_from(address).unwrap() / SLOT_BYTES;
                left[place] -= 1;
                let slot = lent.give_back(address);
                prop_assert_eq!(slot.map(|slot| slot.memory().start / SLOT_BYTES), (left[place] == 0).then_some(place));
                prop_assert_eq!(lent.slots, left.iter().filter(|&&left| left > 0).count());
                prop_assert_eq!(lent.descriptors, left.iter().sum::<u32>());
            }
            for address in stray {
                prop_assert!(lent.give_back(address).is_none());
            }
        }
    }
}
