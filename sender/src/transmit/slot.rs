//! A slot: memory for the packets of one super-packet, laid out as they are sent.

use std::time::Duration;
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
    memory: Box<[u8]>,
    len: usize,
    packet_len: usize,
    packets: usize,
    /// When the first packet is due, since the start of the session.
    pub at: Duration,
    /// How long the packets take at the session's rate.
    pub duration: Duration,
}

impl Slot {
    /// A slot over `memory`.
    pub(super) fn new(memory: Box<[u8]>) -> Self {
        Self { memory, len: 0, packet_len: 0, packets: 0, at: Duration::ZERO, duration: Duration::ZERO }
    }

    /// A slot without a backend.
    #[cfg(test)]
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self::new(vec![0; bytes].into())
    }

    /// Empties the slot.
    pub fn clear(&mut self) {
        (self.len, self.packet_len, self.packets) = (0, 0, 0);
    }

    /// Makes room for one more packet of `len` bytes.
    pub fn push(&mut self, len: usize) -> Result<(), SlotError> {
        let ends_with_short_packet = self.len < self.packets * self.packet_len;
        if self.packets > 0 && (len > self.packet_len || ends_with_short_packet) {
            return Err(SlotError::Length);
        }
        if self.len + len > self.memory.len() {
            return Err(SlotError::Full);
        }
        if self.packets == 0 {
            self.packet_len = len;
        }
        self.len += len;
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

    /// The packets, one after the other.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[..self.len]
    }

    /// The packets one by one, to be filled.
    pub fn packets_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.memory[..self.len].chunks_mut(self.packet_len.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_packet_is_shorter() {
        let mut slot = Slot::new(vec![0; 100].into());
        slot.push(30).unwrap();
        slot.push(30).unwrap();
        assert_eq!(slot.push(31), Err(SlotError::Length));
        slot.push(20).unwrap();
        assert_eq!(slot.push(20), Err(SlotError::Length));
        let lens: Vec<usize> = slot.packets_mut().map(|packet| packet.len()).collect();
        assert_eq!(lens, [30, 30, 20]);
        assert_eq!((slot.packets(), slot.packet_len(), slot.bytes().len()), (3, 30, 80));
    }

    #[test]
    fn is_bounded_and_can_be_used_again() {
        let mut slot = Slot::new(vec![0; 64].into());
        slot.push(40).unwrap();
        assert_eq!(slot.push(40), Err(SlotError::Full));
        slot.clear();
        slot.push(64).unwrap();
        assert_eq!(slot.packets(), 1);
    }
}
