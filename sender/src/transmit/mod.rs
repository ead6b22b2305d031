//! From slots to the network: one trait, one file a backend, the same bytes from all.
//!
//! A backend owns the memory that is sent and hands it out as [`Slot`]s; workers fill them, and the sending thread only
//! posts them. All `unsafe` towards the kernel's sending interfaces is in this folder.

mod mmsg;
mod slot;
mod socket;

pub use mmsg::Mmsg;
pub use slot::{Slot, SlotError};
pub use socket::{SocketError, SocketOptions, open};

use std::collections::VecDeque;
use std::io;

/// What a backend can put into one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotLimits {
    /// Packets of one slot at most.
    pub max_packets: usize,
    /// Bytes of their UDP payloads at most.
    pub max_bytes: usize,
}

/// Puts slots on the wire.
pub trait Transmit: Send {
    /// The backend's name and what it found out about the host, for people.
    fn describe(&self) -> String;

    /// Its name, for scripts.
    fn name(&self) -> &'static str;

    /// How large slots may be.
    fn limits(&self) -> SlotLimits;

    /// Makes `count` slots of `bytes` bytes each in the backend's memory.
    fn make_slots(&mut self, count: usize, bytes: usize) -> Vec<Slot>;

    /// Sends the packets of all `slots` in order, waiting where the kernel pushes back, and moves each slot to `free`
    /// once its memory may be written again.
    fn post(&mut self, slots: &mut VecDeque<Slot>, free: &mut Vec<Slot>) -> io::Result<()>;
}
