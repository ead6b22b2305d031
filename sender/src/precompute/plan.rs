//! The planner: polls the session for packets, groups them into slots, and dates every slot.

mod listen;
mod resident;

pub use resident::{Planned, Resident};

use super::job::{Job, JobPacket};
use super::pool::SlotPool;
use crate::feedback::Reports;
use crate::pace::{Mark, Pace};
use crate::rate::{Cost, time_of};
use crate::transmit::Slot;
use fleetcast_fec::SymbolSet;
use fleetcast_protocol::partition::MAX_BLOCKS;
use fleetcast_protocol::session::SymbolId;
use fleetcast_protocol::session::sender::{Outgoing, Poll, SenderError, SenderSession, SymbolWriter};
use std::sync::Arc;
use std::time::Duration;

/// How slots and jobs are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Packets of a slot at most, as the backend takes it; a slot is no larger than a burst either.
    pub slot_packets: usize,
    /// Slots of a job that computes repair, at most.
    pub repair_job_slots: usize,
    /// Slots of a job of source symbols, at most.
    pub source_job_slots: usize,
}

/// Plans a session's packets.
#[derive(Debug)]
pub struct Planner {
    session: SenderSession,
    writer: SymbolWriter,
    cost: Cost,
    pace: Arc<Pace>,
    rate_bps: u64,
    slot_packets: usize,
    shape: Shape,
    sequence: u64,
    slots: u64,
    packets: u64,
    /// Where the next packet is.
    mark: Mark,
    /// A place in the session whose time is known, at the rate that holds since: times are exact, with no sum of roundings.
    known: (Mark, Duration),
    /// The packet that did not fit the last job.
    held: Option<Outgoing>,
    /// Blocks whose hash the workers were asked to check.
    checked_blocks: SymbolSet,
    /// What stays filled, in a resident carousel.
    resident: Option<Resident>,
    /// What receivers ask for, if they are asked.
    reports: Option<Reports>,
}

/// What the session has to send.
#[derive(Debug)]
enum Next {
    /// This.
    Packet(Outgoing),
    /// Nothing until the session has listened: what is planned leaves first.
    Listen(Duration),
    /// Nothing any more.
    End,
}

impl Planner {
    /// Plans `session` for the rate and the bursts of `pace`; `cost` counts bits. With `resident`, slots stay
    /// filled, and are sent again when the session repeats itself.
    pub fn new(session: SenderSession, cost: Cost, pace: Arc<Pace>, shape: Shape, resident: Option<Resident>) -> Self {
        let mut planner = Self {
            writer: session.writer(),
            session,
            cost,
            pace,
            rate_bps: 0,
            slot_packets: 1,
            shape,
            sequence: 0,
            slots: 0,
            packets: 0,
            mark: Mark::default(),
            known: (Mark::default(), Duration::ZERO),
            held: None,
            checked_blocks: SymbolSet::new(u32::from(MAX_BLOCKS)),
            resident,
            reports: None,
        };
        planner.take_up_rate();
        planner
    }

    /// Gives the session the reports that come while it listens.
    #[must_use]
    pub fn with_reports(mut self, reports: Option<Reports>) -> Self {
        self.reports = reports;
        self
    }

    /// The next job, in slots from `pool`; `None` when the session is over or the pool gives no slot any more.
    pub fn next(&mut self, pool: &mut SlotPool) -> Result<Option<Planned>, SenderError> {
        match self.resident {
            Some(_) => self.next_resident_job(pool),
            None => Ok(self.next_job(|| pool.take_empty())?.map(Planned::Fill)),
        }
    }

    fn new_job(&self) -> Job {
        let (slots, packets, new_blocks) = (Vec::new(), Vec::new(), Vec::new());
        Job { sequence: self.sequence, first_slot: self.slots, slots, packets, new_blocks }
    }

    /// The sequence number of the next job.
    pub fn next_sequence(&self) -> u64 {
        self.sequence
    }

    /// The session's time at which the next packet leaves, at the rate that holds.
    ///
    /// After a change of rate what was planned before leaves sooner or later than planned, and the session's time with it:
    /// it counts the time that packets take, at the rate for which they were planned.
    fn now(&self) -> Duration {
        let (known, at) = self.known;
        at + (self.mark.pauses - known.pauses) + time_of(self.mark.bits - known.bits, self.rate_bps)
    }

    /// Plans from here on for the rate that is wanted now.
    fn take_up_rate(&mut self) {
        let rate_bps = self.pace.timeline.rate_bps();
        if rate_bps != self.rate_bps {
            self.known = (self.mark, self.now());
            self.rate_bps = rate_bps;
            self.session.set_rate_bps(rate_bps);
            let burst = self.pace.burst.packets(rate_bps, self.pace.packet_bits);
            let burst = usize::try_from(burst).unwrap_or(usize::MAX).min(self.shape.slot_packets);
            // Slots that stay filled are as long as they are.
            self.slot_packets = if self.resident.is_some() { self.shape.slot_packets } else { burst };
        }
    }

    /// The next job, in slots taken from `free`; `None` when the session is over or `free` gives none.
    pub fn next_job(&mut self, mut free: impl FnMut() -> Option<Slot>) -> Result<Option<Job>, SenderError> {
        self.take_up_rate();
        self.note_feedback();
        let mut job = self.new_job();
        loop {
            let packet = match self.next_packet()? {
                Next::Packet(packet) => packet,
                Next::Listen(until) if job.packets.is_empty() && self.listen(until) => continue,
                Next::Listen(_) | Next::End => break,
            };
            let is_repair = self.is_repair(&packet);
            let fits = self.fits_last_slot(&mut job, &packet, is_repair);
            if !fits && !self.may_grow(&job, is_repair) {
                self.held = Some(packet);
                break;
            }
            if !fits {
                let Some(mut slot) = free() else { return Ok(None) };
                slot.clear();
                (slot.mark, slot.first_packet) = (self.mark, self.packets);
                // A fresh slot takes any packet: its size is that of the largest.
                let _ = slot.push(self.packet_len(&packet));
                job.slots.push(slot);
                self.slots += 1;
            }
            self.add(&mut job, packet);
        }
        if job.packets.is_empty() {
            return Ok(None);
        }
        self.sequence += 1;
        Ok(Some(job))
    }

    /// The packet held back, or the session's next; pauses that the session wants move the schedule on.
    fn next_packet(&mut self) -> Result<Next, SenderError> {
        if let Some(packet) = self.held.take() {
            return Ok(Next::Packet(packet));
        }
        loop {
            match self.session.poll(self.now())? {
                Poll::Packet(packet) => return Ok(Next::Packet(packet)),
                Poll::Wait(until) => self.mark.pauses += until.saturating_sub(self.now()),
                Poll::Listen(until) => return Ok(Next::Listen(until)),
                Poll::Done => return Ok(Next::End),
            }
        }
    }

    fn packet_len(&self, packet: &Outgoing) -> usize {
        match packet {
            Outgoing::Control(bytes) => bytes.len(),
            Outgoing::Symbol { id, .. } => self.writer.packet_len(*id),
        }
    }

    /// Makes room in the job's last slot if the packet may go there.
    ///
    /// Repair starts a slot of its own: computing a few rows of a block costs as much as computing all it needs.
    fn fits_last_slot(&self, job: &mut Job, packet: &Outgoing, is_repair: bool) -> bool {
        let Some(last) = job.packets.last() else { return false };
        let same_kind = self.is_repair(&last.packet) == is_repair;
        let len = self.packet_len(packet);
        job.slots.last_mut().is_some_and(|slot| {
            // A pause that the session wanted separates slots.
            let contiguous = slot.mark.pauses == self.mark.pauses;
            same_kind && contiguous && slot.packets() < self.slot_packets && slot.push(len).is_ok()
        })
    }

    /// Whether the job may take one more slot, for a packet of this kind.
    ///
    /// A job of repair takes a whole section, because a block's rows are computed together. A job of source symbols
    /// starts at one slot, so that sending starts at once, and grows with each: handing a job from thread to thread
    /// costs more than filling a slot.
    fn may_grow(&self, job: &Job, next_is_repair: bool) -> bool {
        let Some(first) = job.packets.first() else { return true };
        let has_repair = self.is_repair(&first.packet);
        let ramp = usize::try_from(job.sequence).unwrap_or(usize::MAX).saturating_add(1);
        let most = if has_repair { self.shape.repair_job_slots } else { self.shape.source_job_slots.min(ramp) };
        has_repair == next_is_repair && job.slots.len() < most
    }

    fn is_repair(&self, packet: &Outgoing) -> bool {
        matches!(packet, Outgoing::Symbol { id, .. } if self.is_repair_id(id))
    }

    fn is_repair_id(&self, id: &SymbolId) -> bool {
        self.session.schedule().partition().k(id.sbn).is_some_and(|k| id.esi >= k)
    }

    fn add(&mut self, job: &mut Job, packet: Outgoing) {
        if let Outgoing::Symbol { id, .. } = &packet {
            self.note_new_block(job, id.sbn);
        }
        let bits = self.cost.bits(self.packet_len(&packet));
        self.mark.bits += bits;
        self.packets += 1;
        let slot = job.slots.len() - 1;
        job.slots[slot].bits += bits;
        job.packets.push(JobPacket { slot, packet });
    }

    /// The first symbol of each block is when it must be checked.
    fn note_new_block(&mut self, job: &mut Job, sbn: u8) {
        if self.checked_blocks.insert(u32::from(sbn)) {
            job.new_blocks.push(sbn);
        }
    }
}
