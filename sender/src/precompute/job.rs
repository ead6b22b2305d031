//! A job: slots to be filled with the packets that were planned for them.

use crate::transmit::Slot;
use fleetcast_protocol::session::sender::Outgoing;

/// A packet and the slot it goes into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPacket {
    /// Index of the slot in the job. Packets are in order, within the slot and over all.
    pub slot: usize,
    /// What to write there.
    pub packet: Outgoing,
}

/// Work for one worker.
#[derive(Debug)]
pub struct Job {
    /// Place in the order of sending, from 0 without gaps.
    pub sequence: u64,
    /// Slots of all jobs before.
    pub first_slot: u64,
    /// The slots, with room for every packet.
    pub slots: Vec<Slot>,
    /// The packets, in the order in which they are sent.
    pub packets: Vec<JobPacket>,
    /// Blocks that are sent for the first time: their hashes are compared with the manifest before anything leaves.
    pub new_blocks: Vec<u8>,
}
