//! From slots to the network: two traits, one file or folder a backend, the same bytes from all.
//!
//! A [`Backend`] owns the memory that is sent. It is asked for its [`SlotLimits`], and then started with a [`SlotShape`]:
//! it maps one [`Region`], cuts it into [`Slot`]s, laid out as it sends them ([`Layout`]), and gives one [`Transmit`] a
//! sending thread. Workers write packets into slots and complete their headers ([`Slot::finish`]); sending threads only
//! post them. All `unsafe` towards the kernel's sending interfaces is in this folder.
//!
//! A slot is *lent* to the kernel by [`post`](Transmit::post) and comes back through `free` once its memory may be written
//! again: at once where the kernel copies, upon its completion where it does not.

mod choose;
mod layout;
mod message;
mod mmsg;
mod region;
mod slot;
mod socket;
mod uring;
pub mod xdp;

pub use choose::{BackendKind, Choice, ChooseError, Egress, choose};
pub use layout::{Framing, Layout, SlotShape};
pub use mmsg::Mmsg;
pub use region::{Pages, Region};
pub use slot::{Slot, SlotError};
pub use socket::{SocketError, SocketOptions, open, set_max_pacing_rate};
pub use uring::{Uring, UringError};
pub use xdp::{Xdp, XdpError, XdpOptions};

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

/// A way to the network, not started yet.
pub trait Backend {
    /// Its name, for scripts.
    fn name(&self) -> &'static str;

    /// What it found out about the host, for people.
    fn describe(&self) -> String;

    /// How large slots may be.
    fn limits(&self) -> SlotLimits;

    /// Bytes of memory that a slot of this shape takes.
    fn slot_bytes(&self, shape: &SlotShape) -> usize {
        Layout::Contiguous.slot_bytes(shape)
    }

    /// Maps memory for `count` slots of `shape` and starts: all slots, and what each sending thread sends them with. Any
    /// thread may post any slot.
    fn start(self: Box<Self>, count: usize, shape: &SlotShape) -> io::Result<Started>;
}

/// A started backend.
#[derive(Debug)]
pub struct Started {
    /// All slots, empty.
    pub slots: Vec<Slot>,
    /// One a sending thread.
    pub senders: Vec<Box<dyn Transmit>>,
    /// The pages that the slots lie in.
    pub pages: Pages,
}

/// Puts slots on the wire: one sending thread's half of a backend.
///
/// Nothing here may allocate, hash, or take a lock: `post` and `reclaim` are on the packet path. `slots` and `free` come
/// with room for every slot there is.
pub trait Transmit: Send + std::fmt::Debug {
    /// Hands all packets of all `slots` to the kernel, in order, waiting where it pushes back (EAGAIN, ENOBUFS: no error).
    ///
    /// Slots whose memory may be written again go to `free`, also those of earlier posts; the others stay lent.
    fn post(&mut self, slots: &mut VecDeque<Slot>, free: &mut Vec<Slot>) -> io::Result<()>;

    /// Moves lent slots that came back to `free`, without waiting; returns how many are still lent.
    fn reclaim(&mut self, free: &mut Vec<Slot>) -> io::Result<usize>;

    /// Waits until everything that was posted has left.
    fn finish(&mut self, free: &mut Vec<Slot>) -> io::Result<()>;

    /// Has the kernel's fq qdisc let no more than `bytes_per_s` bytes of frames a second go.
    fn pace_at(&mut self, bytes_per_s: u64) -> io::Result<()> {
        let _ = bytes_per_s;
        Ok(())
    }

    /// What turned out while sending that [`Backend::describe`] could not know, if anything did; for people.
    fn findings(&self) -> Option<String>;
}
