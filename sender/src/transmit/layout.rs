//! How the packets of a slot lie in its memory, as the backend wants them.

use std::fmt::Debug;
use std::sync::Arc;

/// Writes the headers in front of payloads. Workers run it, never the sending thread.
pub trait Framing: Debug + Send + Sync {
    /// Writes into `frame`, the whole room of a packet, what is the same for all packets of the session. Once, when the slot
    /// is made.
    fn prepare(&self, frame: &mut [u8]);

    /// Completes `frame`, head room and payload, whose payload was just written: lengths and checksums.
    ///
    /// `index` counts the session's packets in the order of sending, from 0.
    fn finish(&self, index: u64, frame: &mut [u8]);
}

/// Where packets lie in a slot.
#[derive(Debug, Clone)]
pub enum Layout {
    /// UDP payloads one after the other, for the kernel to cut: the super-packet of UDP GSO.
    Contiguous,
    /// A frame each: headers that `framing` writes, then the payload.
    Frames {
        /// Bytes before the payload.
        head_room: usize,
        /// Bytes from the start of a packet's room to the next one's.
        stride: usize,
        /// Writes the headers.
        framing: Arc<dyn Framing>,
    },
}

impl Layout {
    /// Bytes before each payload.
    pub fn head_room(&self) -> usize {
        match self {
            Self::Contiguous => 0,
            Self::Frames { head_room, .. } => *head_room,
        }
    }

    /// Bytes from a packet of `packet_len` to the next.
    pub fn stride(&self, packet_len: usize) -> usize {
        match self {
            Self::Contiguous => packet_len,
            Self::Frames { stride, .. } => *stride,
        }
    }

    /// Bytes that a slot of this shape needs.
    pub fn slot_bytes(&self, shape: &SlotShape) -> usize {
        match self {
            Self::Contiguous => (shape.packets * shape.packet_len).max(shape.largest_packet),
            Self::Frames { stride, .. } => shape.packets * stride,
        }
    }
}

/// How large slots are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotShape {
    /// Packets of a slot at most.
    pub packets: usize,
    /// UDP payload of the packets of the image, in bytes.
    pub packet_len: usize,
    /// The largest UDP payload that has to fit an empty slot, in bytes: at least `packet_len`.
    pub largest_packet: usize,
}
