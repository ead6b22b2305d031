//! Many symbols at a time: a run that was sent in one go, and which of it came.
//!
//! A simulated fleet cannot touch every packet of every receiver. What a run is does not depend on the receiver, so it is
//! laid out once for all of them, block by block; a receiver then costs as much as it has losses. The session ends in the
//! state in which the packets would have left it, one by one and with no action polled between them.

use super::{Mode, ReceiverSession};
use crate::session::schedule::{Schedule, SymbolId};
use std::ops::Range;
use std::time::Duration;

/// Symbols of one session that were sent one after the other.
#[derive(Debug)]
pub struct SymbolRun {
    tsi: u64,
    packet_len: u64,
    schedule: Schedule,
    pass: u32,
    position: Position,
    /// In the order of sending.
    symbols: Vec<SymbolId>,
    /// Index in the order of sending → place in the order of the strands.
    places: Vec<u32>,
    /// The reverse.
    indices: Vec<u32>,
    strands: Vec<Strand>,
}

/// Neighbouring symbols of one block.
#[derive(Debug)]
struct Strand {
    sbn: u8,
    esis: Range<u32>,
    first_place: u32,
}

/// Where a run lies in its pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    /// It goes on from here without a gap.
    From(u64),
    /// The pass sends none of its symbols.
    Outside,
    /// Here and there.
    Scattered,
}

impl SymbolRun {
    /// The `symbols`, sent in this order by session `tsi` during or after pass `pass` of `schedule`, in packets of
    /// `packet_len` bytes of UDP payload each.
    ///
    /// `None` when there are none, or one is of no block of the schedule's partition.
    pub fn new(tsi: u32, schedule: &Schedule, pass: u32, packet_len: usize, symbols: Vec<SymbolId>) -> Option<Self> {
        let partition = schedule.partition();
        let mut by_block: Vec<Vec<(u32, u32)>> = vec![Vec::new(); usize::from(partition.blocks())];
        for (index, id) in (0u32..).zip(&symbols) {
            by_block.get_mut(usize::from(id.sbn))?.push((index, id.esi));
        }
        let mut run = Self {
            tsi: u64::from(tsi),
            packet_len: packet_len as u64,
            schedule: *schedule,
            pass,
            position: position_of(schedule, pass, &symbols),
            places: vec![0; symbols.len()],
            indices: Vec::with_capacity(symbols.len()),
            strands: Vec::new(),
            symbols,
        };
        for (sbn, entries) in (0..=u8::MAX).zip(by_block) {
            let k = partition.k(sbn)?;
            for (index, esi) in entries {
                run.append(sbn, k, index, esi);
            }
        }
        (!run.symbols.is_empty()).then_some(run)
    }

    fn append(&mut self, sbn: u8, k: u32, index: u32, esi: u32) {
        let place = u32::try_from(self.indices.len()).unwrap_or(u32::MAX);
        match self.strands.last_mut() {
            Some(strand) if strand.sbn == sbn && strand.esis.end == esi && esi != k => strand.esis.end += 1,
            _ => self.strands.push(Strand { sbn, esis: esi..esi + 1, first_place: place }),
        }
        self.indices.push(index);
        if let Some(place_of) = self.places.get_mut(index as usize) {
            *place_of = place;
        }
    }

    /// Symbols of the run.
    pub fn len(&self) -> u64 {
        self.symbols.len() as u64
    }

    /// Whether it has none (never).
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    pub(super) fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    pub(super) fn pass(&self) -> u32 {
        self.pass
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// The symbols that are not `lost`, in order.
    pub(super) fn received(&self, lost: &[u32]) -> impl Iterator<Item = SymbolId> {
        let mut lost = lost.iter().peekable();
        (0u32..).zip(&self.symbols).filter(move |(index, _)| lost.next_if_eq(&index).is_none()).map(|(_, id)| *id)
    }

    /// The indices of the first and of the last symbol that are not `lost`.
    pub(super) fn span(&self, lost: &[u32]) -> Option<(u32, u32)> {
        let len = u32::try_from(self.symbols.len()).ok()?;
        let leading = (0u32..).zip(lost).take_while(|(index, lost)| index == *lost).count();
        let trailing = (0..len).rev().zip(lost.iter().rev()).take_while(|(index, lost)| index == *lost).count();
        let (first, last) = (u32::try_from(leading).ok()?, len.checked_sub(u32::try_from(trailing).ok()? + 1)?);
        (first <= last).then_some((first, last))
    }
}

fn position_of(schedule: &Schedule, pass: u32, symbols: &[SymbolId]) -> Position {
    let mut positions = symbols.iter().map(|id| schedule.position(*id, pass));
    match positions.next().flatten() {
        Some(first) if (first + 1..).zip(positions).all(|(expected, position)| position == Some(expected)) => {
            Position::From(first)
        }
        None if symbols.iter().all(|id| schedule.position(*id, pass).is_none()) => Position::Outside,
        _ => Position::Scattered,
    }
}

impl ReceiverSession {
    /// Takes the symbols of a run, the last of which arrived at `now`, but for those at the indices `lost`, which ascend.
    ///
    /// The session ends as if each packet had come at `now` by [`on_packet`](Self::on_packet) and nothing else was done
    /// meanwhile; only it is not said where the symbols belong. Sessions without signatures take packets only: to them a
    /// run is foreign.
    pub fn on_range_received(&mut self, now: Duration, run: &SymbolRun, lost: &[u32]) {
        let received = run.len().saturating_sub(lost.len() as u64);
        if received == 0 {
            return;
        }
        self.stats.packets += received;
        self.stats.bytes += received * run.packet_len;
        let Mode::Signed { .. } = self.mode else {
            self.stats.foreign += received;
            return;
        };
        if !self.listener.hears(run.tsi) {
            self.stats.foreign += received;
            return;
        }
        let Some(upgrade) = self.upgrade.as_mut().filter(|upgrade| !upgrade.blocks.is_empty()) else {
            self.stats.early += received;
            return;
        };
        if !self.listener.is_bound(run.tsi) {
            self.stats.foreign += received;
            return;
        }
        if upgrade.partition != *run.schedule.partition() {
            self.stats.malformed += received;
            return;
        }
        upgrade.loss.on_range(run, lost);
        let kept = self.take_strands(now, run, lost);
        self.stats.symbols += kept;
        self.stats.surplus += received - kept;
    }

    /// Gives each block what came of it, and returns how many symbols were kept.
    fn take_strands(&mut self, now: Duration, run: &SymbolRun, lost: &[u32]) -> u64 {
        let Some(upgrade) = &mut self.upgrade else { return 0 };
        let mut lost: Vec<u32> = lost.iter().filter_map(|index| run.places.get(*index as usize)).copied().collect();
        lost.sort_unstable();
        let mut left = lost.as_mut_slice();
        let mut ready: Vec<(u32, u8)> = Vec::new();
        let mut kept_in_all = 0;
        for strand in &run.strands {
            let len = strand.esis.end - strand.esis.start;
            let split = left.partition_point(|place| *place < strand.first_place + len);
            let (own, rest) = std::mem::take(&mut left).split_at_mut(split);
            left = rest;
            if own.len() == len as usize || self.ranges.as_mut().is_some_and(|ranges| !ranges.admits(now, strand.sbn)) {
                continue;
            }
            own.iter_mut().for_each(|place| *place = *place - strand.first_place + strand.esis.start);
            // What is ready is about to be checked, and takes no more.
            if ready.iter().any(|(_, sbn)| *sbn == strand.sbn) {
                continue;
            }
            let Some(block) = upgrade.blocks.get_mut(usize::from(strand.sbn)) else { continue };
            let (kept, ready_with) = block.take_range(strand.esis.clone(), own);
            if kept > 0 {
                kept_in_all += u64::from(kept);
                block.last_symbol_at = now;
                self.last_progress_at = now;
            }
            let place = ready_with.map(|esi| strand.first_place + esi - strand.esis.start);
            ready.extend(place.and_then(|place| run.indices.get(place as usize)).map(|index| (*index, strand.sbn)));
        }
        ready.sort_unstable();
        ready.into_iter().for_each(|(_, sbn)| self.check(sbn));
        kept_in_all
    }
}
