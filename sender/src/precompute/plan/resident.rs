//! A resident pass: its slots stay filled, and later passes only name them again.
//!
//! The session is polled as ever; what it wants in one slot is a *group*. The first time a group comes it is filled into a
//! slot that then keeps it, under the name of its symbols. When the same symbols are wanted in the same order again, that
//! slot is sent as it is. Anything else (control packets, the last slot with its flag B, symbols that a receiver asked for) is
//! filled afresh into an ordinary slot. So nothing depends on what the session's order is, only on whether it repeats.

use super::{Outgoing, Planner, Poll, SenderError, Slot, SymbolId};
use crate::precompute::job::{Job, JobPacket};
use crate::precompute::pool::SlotPool;
use std::collections::HashMap;

/// Slots of a job that needs no worker, at most.
const READY_JOB_SLOTS: usize = 64;

/// What stays, and what is at hand.
#[derive(Debug, Default)]
pub struct Resident {
    /// Places that may still be filled.
    places_left: u32,
    /// Each place's symbols, by the first of them.
    places: HashMap<(u8, u32), (u32, Vec<SymbolId>)>,
    group: Vec<SymbolId>,
    /// A group that did not fit the last job.
    held: bool,
    close_object: bool,
}

/// A job, and whether it is filled already.
#[derive(Debug)]
pub enum Planned {
    /// Workers have to fill it.
    Fill(Job),
    /// It can be sent as it is.
    Ready(Job),
}

/// What happens to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Its slot is sent again.
    Again(u32),
    /// It is filled, and stays.
    Keep,
    /// It is filled, this time.
    Once,
}

impl Resident {
    /// With at most so many slots that stay filled.
    pub fn new(places: u32) -> Self {
        Self { places_left: places, ..Self::default() }
    }

    fn way(&self) -> Way {
        let Some(first) = self.group.first().filter(|_| !self.close_object) else { return Way::Once };
        match self.places.get(&(first.sbn, first.esi)) {
            Some((place, symbols)) if *symbols == self.group => Way::Again(*place),
            None if self.places_left > 0 => Way::Keep,
            _ => Way::Once,
        }
    }

    /// Gives the group a place of its own.
    fn keep(&mut self) -> Option<u32> {
        let first = self.group.first()?;
        let place = u32::try_from(self.places.len()).ok()?;
        self.places.insert((first.sbn, first.esi), (place, self.group.clone()));
        self.places_left -= 1;
        Some(place)
    }
}

impl Planner {
    /// The next job of a resident carousel; `None` when the session is over or the pool gives no slot any more.
    pub(in crate::precompute) fn next_resident_job(
        &mut self,
        pool: &mut SlotPool,
    ) -> Result<Option<Planned>, SenderError> {
        self.take_up_rate();
        let mut job = self.new_job();
        let mut ready = false;
        while (!ready || job.slots.len() < READY_JOB_SLOTS) && self.next_group(job.slots.is_empty())? {
            let is_repair = self.resident_group().first().is_some_and(|id| self.is_repair_id(id));
            let way = self.resident.as_ref().map_or(Way::Once, Resident::way);
            let again = matches!(way, Way::Again(_));
            let fits = job.slots.is_empty()
                || (again == ready && (again || self.may_grow_by(&job, is_repair) && !self.holds_control()));
            let slot = match way {
                _ if !fits => None,
                Way::Again(place) if job.slots.is_empty() => loop {
                    match pool.take_resident(place) {
                        Some(slot) => break Some(slot),
                        None if pool.wait().is_some() => {}
                        None => return Ok(None),
                    }
                },
                Way::Again(place) => pool.take_resident(place),
                Way::Keep | Way::Once => match pool.take_empty() {
                    None => return Ok(None),
                    slot => slot,
                },
            };
            let Some(slot) = slot else {
                self.hold_group();
                break;
            };
            ready = again;
            if again { self.send_again(&mut job, slot) } else { self.fill_group(&mut job, slot, way == Way::Keep) }
        }
        if job.slots.is_empty() {
            return Ok(None);
        }
        self.sequence += 1;
        Ok(Some(if ready { Planned::Ready(job) } else { Planned::Fill(job) }))
    }

    /// Has the next group at hand: symbols of one kind for one slot, or control packets in `held`. False at the end, and when
    /// the session has to listen first but may not, because what is planned has to leave before.
    fn next_group(&mut self, may_listen: bool) -> Result<bool, SenderError> {
        if let Some(resident) = &mut self.resident
            && std::mem::take(&mut resident.held)
        {
            return Ok(true);
        }
        let mut group = self.resident.as_mut().map(|resident| std::mem::take(&mut resident.group)).unwrap_or_default();
        group.clear();
        let mut close_object = false;
        // A slot's symbols are asked for at one time, so that nothing else comes in between.
        let mut at = self.now();
        while group.len() < self.slot_packets {
            let packet = match self.held.take() {
                Some(packet) => packet,
                None => match self.session.poll(at)? {
                    Poll::Packet(packet) => packet,
                    Poll::Wait(until) if group.is_empty() => {
                        self.mark.pauses += until.saturating_sub(at);
                        at = until;
                        continue;
                    }
                    Poll::Listen(until) if group.is_empty() && may_listen && self.listen(until) => {
                        at = self.now();
                        continue;
                    }
                    Poll::Wait(_) | Poll::Listen(_) | Poll::Done => break,
                },
            };
            match packet {
                Outgoing::Symbol { id, close_object: close } if self.continues(&group, &id) => {
                    close_object |= close;
                    let is_short = self.writer.packet_len(id) < self.writer.packet_len(*group.first().unwrap_or(&id));
                    group.push(id);
                    // The last symbol of an image without FEC: nothing follows it in a slot.
                    if is_short {
                        break;
                    }
                }
                other => {
                    self.held = Some(other);
                    break;
                }
            }
        }
        let is_there = !group.is_empty() || self.held.is_some();
        if let Some(resident) = &mut self.resident {
            (resident.group, resident.close_object) = (group, close_object);
        }
        Ok(is_there)
    }

    /// Whether a symbol may follow those of `group` in a slot.
    fn continues(&self, group: &[SymbolId], id: &SymbolId) -> bool {
        group.first().is_none_or(|first| {
            self.is_repair_id(first) == self.is_repair_id(id)
                && self.writer.packet_len(*id) <= self.writer.packet_len(*first)
        })
    }

    fn resident_group(&self) -> &[SymbolId] {
        self.resident.as_ref().map_or(&[], |resident| &resident.group)
    }

    fn hold_group(&mut self) {
        if let Some(resident) = &mut self.resident {
            resident.held = true;
        }
    }

    /// Whether a control packet is next, and no group before it.
    fn holds_control(&self) -> bool {
        self.resident_group().is_empty()
    }

    fn send_again(&mut self, job: &mut Job, mut slot: Slot) {
        (slot.mark, slot.first_packet) = (self.mark, self.packets);
        self.mark.bits += slot.bits;
        self.packets += slot.packets() as u64;
        self.slots += 1;
        job.slots.push(slot);
    }

    /// Plans the group, or the control packet that is held, into `slot`.
    fn fill_group(&mut self, job: &mut Job, mut slot: Slot, keep: bool) {
        slot.clear();
        (slot.mark, slot.first_packet) = (self.mark, self.packets);
        slot.place = self.resident.as_mut().filter(|_| keep).and_then(Resident::keep);
        job.slots.push(slot);
        self.slots += 1;
        let (group, close_object) = self
            .resident
            .as_mut()
            .map(|resident| (std::mem::take(&mut resident.group), resident.close_object))
            .unwrap_or_default();
        let last = group.len().checked_sub(1);
        let symbols = group
            .iter()
            .enumerate()
            .map(|(index, id)| Outgoing::Symbol { id: *id, close_object: close_object && Some(index) == last });
        let control = if last.is_none() { self.held.take() } else { None };
        for packet in symbols.chain(control) {
            let index = job.slots.len() - 1;
            // A slot holds a group, which has one length but for its last symbol.
            if job.slots[index].push(self.packet_len(&packet)).is_ok() {
                self.add(job, packet);
            }
        }
        if let Some(resident) = &mut self.resident {
            resident.group = group;
            resident.group.clear();
        }
    }
}

// The kinds of packets of a job are told by its first one.
impl Planner {
    fn may_grow_by(&self, job: &Job, is_repair: bool) -> bool {
        matches!(job.packets.first(), Some(JobPacket { packet: Outgoing::Symbol { .. }, .. }))
            && self.may_grow(job, is_repair)
    }
}
