//! A slot: memory for the packets of one super-packet, laid out as they are sent.

use super::layout::Layout;
use super::region::Part;
use crate::pace::Mark;
use std::ops::Range;
use thiserror::Error;

/// Why a packet does not go into a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SlotError {
    /// There is no room left.
    #[error("the slot is full")]
    Full,
    /// All packets of a super-packet have the same length, but the last one may be shorter.
    #[error("a packet of another length must start a slot of its own")]
    Length,
}

/// Packets that are sent together. All have the same length, except that the last may be shorter.
#[derive(Debug)]
pub struct Slot {
    memory: Part,
    layout: Layout,
    payload_bytes: usize,
    packet_len: usize,
    packets: usize,
    /// Where in the session the first packet is.
    pub mark: Mark,
    /// Bits of the packets, as the rate counts them.
    pub bits: u64,
    /// Packets of the session before the first.
    pub first_packet: u64,
    /// The place of a slot that stays filled, to be sent again.
    pub place: Option<u32>,
}

impl Slot {
    /// A slot over `memory`, with the headers that all packets share already written.
    pub(super) fn new(mut memory: Part, layout: &Layout) -> Self {
        if let Layout::Frames { stride, framing, .. } = layout {
            memory.bytes_mut().chunks_exact_mut(*stride).for_each(|frame| framing.prepare(frame));
        }
        let layout = layout.clone();
        let mark = Mark::default();
        let (payload_bytes, packet_len, packets, bits, first_packet, place) = (0, 0, 0, 0, 0, None);
        Self { memory, layout, payload_bytes, packet_len, packets, mark, bits, first_packet, place }
    }

    /// A slot of contiguous payloads without a backend.
    #[cfg(test)]
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        let region = super::Region::new(bytes, false).unwrap();
        let (_, mut parts) = region.cut(bytes, 1);
        Self::new(parts.remove(0), &Layout::Contiguous)
    }

    /// Empties the slot.
    pub fn clear(&mut self) {
        (self.payload_bytes, self.packet_len, self.packets, self.bits) = (0, 0, 0, 0);
    }

    /// Makes room for one more packet of `len` bytes.
    pub fn push(&mut self, len: usize) -> Result<(), SlotError> {
        let ends_with_short_packet = self.payload_bytes < self.packets * self.packet_len;
        if self.packets > 0 && (len > self.packet_len || ends_with_short_packet) {
            return Err(SlotError::Length);
        }
        let room = match &self.layout {
            Layout::Contiguous => self.payload_bytes + len <= self.memory.len(),
            Layout::Frames { head_room, stride, .. } => {
                head_room + len <= *stride && (self.packets + 1) * stride <= self.memory.len()
            }
        };
        if !room {
            return Err(SlotError::Full);
        }
        if self.packets == 0 {
            self.packet_len = len;
        }
        self.payload_bytes += len;
        self.packets += 1;
        Ok(())
    }

    /// Packets in the slot.
    pub fn packets(&self) -> usize {
        self.packets
    }

    /// Bytes of each packet; the last may be shorter.
    pub fn packet_len(&self) -> usize {
        self.packet_len
    }

    /// Bytes of all payloads.
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// The slot's bytes up to the end of the last packet: with [`Layout::Contiguous`] the payloads one after the other.
    pub fn bytes(&self) -> &[u8] {
        let Some(last) = self.packets.checked_sub(1) else { return &[] };
        let end = last * self.layout.stride(self.packet_len) + self.frame_len(last);
        &self.memory.bytes()[..end]
    }

    /// Where the slot's memory lies in the region that it was cut from.
    pub fn memory(&self) -> Range<usize> {
        self.memory.range()
    }

    /// The frames, head room included, as offsets and lengths in the region that the slot was cut from.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = Range<usize>> {
        let (start, stride) = (self.memory.range().start, self.layout.stride(self.packet_len));
        (0..self.packets).map(move |index| {
            let start = start + index * stride;
            start..start + self.frame_len(index)
        })
    }

    /// The payloads one by one, to be filled.
    pub fn packets_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let (head_room, stride) = (self.layout.head_room(), self.layout.stride(self.packet_len));
        let (mut left, packet_len) = (self.payload_bytes, self.packet_len);
        self.memory.bytes_mut().chunks_mut(stride.max(1)).take(self.packets).map(move |frame| {
            let len = left.min(packet_len);
            left -= len;
            &mut frame[head_room..head_room + len]
        })
    }

    /// Completes the headers of all packets: to be called once the payloads are written, by whoever wrote them.
    pub fn finish(&mut self) {
        let Layout::Frames { stride, framing, .. } = &self.layout else { return };
        let mut left = self.payload_bytes;
        let frames = self.memory.bytes_mut().chunks_mut(*stride).take(self.packets);
        for (index, frame) in (self.first_packet..).zip(frames) {
            let len = left.min(self.packet_len);
            left -= len;
            framing.finish(index, &mut frame[..self.layout.head_room() + len]);
        }
    }

    /// Bytes of packet `index` with its head room.
    fn frame_len(&self, index: usize) -> usize {
        let payload = self.payload_bytes.saturating_sub(index * self.packet_len).min(self.packet_len);
        self.layout.head_room() + payload
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::Framing;
    use super::super::region::Region;
    use super::*;
    use std::sync::Arc;

    #[test]
    fn only_the_last_packet_is_shorter() {
        let mut slot = Slot::with_capacity(100);
        slot.push(30).unwrap();
        slot.push(30).unwrap();
        assert_eq!(slot.push(31), Err(SlotError::Length));
        slot.push(20).unwrap();
        assert_eq!(slot.push(20), Err(SlotError::Length));
        let lens: Vec<usize> = slot.packets_mut().map(|packet| packet.len()).collect();
        assert_eq!(lens, [30, 30, 20]);
        assert_eq!((slot.packets(), slot.packet_len(), slot.payload_bytes(), slot.bytes().len()), (3, 30, 80, 80));
    }

    #[test]
    fn is_bounded_and_can_be_used_again() {
        let mut slot = Slot::with_capacity(64);
        slot.push(40).unwrap();
        assert_eq!(slot.push(40), Err(SlotError::Full));
        slot.clear();
        slot.push(64).unwrap();
        assert_eq!(slot.packets(), 1);
    }

    /// Magic in front, which is written once; then the index and the length of what follows.
    #[derive(Debug)]
    struct Numbered;

    impl Framing for Numbered {
        fn prepare(&self, frame: &mut [u8]) {
            frame[..2].copy_from_slice(b"FC");
        }

        fn finish(&self, index: u64, frame: &mut [u8]) {
            frame[2] = u8::try_from(index).unwrap();
            frame[3] = u8::try_from(frame.len() - 4).unwrap();
        }
    }

    #[test]
    fn frames_have_their_headers_in_front() {
        let layout = Layout::Frames { head_room: 4, stride: 16, framing: Arc::new(Numbered) };
        let (_, mut parts) = Region::new(4096, false).unwrap().cut(48, 2);
        let mut slot = Slot::new(parts.pop().unwrap(), &layout);
        slot.first_packet = 7;
        assert_eq!(slot.push(13), Err(SlotError::Full));
        for len in [12, 12, 5] {
            slot.push(len).unwrap();
        }
        assert_eq!(slot.push(5), Err(SlotError::Length));
        let lens: Vec<usize> = slot.packets_mut().map(|packet| (packet.fill(9), packet.len()).1).collect();
        slot.finish();
        assert_eq!(lens, [12, 12, 5]);
        assert_eq!(slot.frames().collect::<Vec<_>>(), [48..64, 64..80, 80..89]);
        let bytes = slot.bytes();
        assert_eq!(&bytes[..4], [b'F', b'C', 7, 12]);
        assert_eq!(&bytes[32..], [b'F', b'C', 9, 5, 9, 9, 9, 9, 9]);
        // What is written once survives another use.
        slot.clear();
        slot.push(1).unwrap();
        assert_eq!(&slot.bytes()[..2], b"FC");
    }
}
