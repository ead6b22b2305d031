//! The last word of every device, within bounds.

use super::{DeviceId, DeviceReport, DeviceState, Tally};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

/// Devices that are remembered at most when no list says which there are.
pub const MAX_DEVICES: usize = 100_000;
/// Devices that one address may speak for when no list says which there are: many stand behind one NAT.
pub const MAX_DEVICES_PER_ADDRESS: u32 = 1_024;

/// The last word of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// What it said.
    pub report: DeviceReport,
    /// When, since the sender's start.
    pub at: Duration,
    /// From which address.
    pub from: IpAddr,
}

/// Why a report counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// It is about another release.
    OtherRelease,
    /// It is older than what was heard, or a repeat.
    Stale,
    /// The device is not on the operator's list.
    Stranger,
    /// There are too many devices, or too many from one address.
    TooMany,
}

/// Where a device stands, as far as the sender knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stand {
    /// What it said last.
    Said(DeviceState),
    /// Nothing was heard of it, or only that it was receiving and then nothing for too long.
    Silent,
}

impl Stand {
    /// The word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Said(state) => state.name(),
            Self::Silent => "silent",
        }
    }
}

/// What is known of a fleet.
#[derive(Debug)]
pub struct Fleet {
    manifest_digest: [u8; 32],
    /// By device; `None` for one that is on the list and was not heard.
    devices: BTreeMap<DeviceId, Option<Heard>>,
    is_listed: bool,
    /// Devices that each address spoke for first, where there is no list.
    by_address: HashMap<IpAddr, u32>,
    ignored: [u64; 4],
    changes: u64,
}

impl Fleet {
    /// The fleet that shall get the release with `manifest_digest`: the devices `expected`, or with none given whoever reports.
    pub fn new(manifest_digest: [u8; 32], expected: impl IntoIterator<Item = DeviceId>) -> Self {
        let devices: BTreeMap<DeviceId, Option<Heard>> = expected.into_iter().map(|device| (device, None)).collect();
        Self {
            manifest_digest,
            is_listed: !devices.is_empty(),
            devices,
            by_address: HashMap::new(),
            ignored: [0; 4],
            changes: 0,
        }
    }

    /// Takes a report that came from `from` at `now`.
    ///
    /// # Errors
    /// Why it counts for nothing.
    pub fn on_report(&mut self, now: Duration, from: IpAddr, report: DeviceReport) -> Result<(), Ignored> {
        let result = self.take(now, from, report);
        match result {
            Ok(()) => self.changes += 1,
            Err(reason) => self.ignored[reason as usize] += 1,
        }
        result
    }

    fn take(&mut self, now: Duration, from: IpAddr, report: DeviceReport) -> Result<(), Ignored> {
        if report.manifest_digest != self.manifest_digest {
            return Err(Ignored::OtherRelease);
        }
        if let Some(known) = self.devices.get_mut(&report.device) {
            if known.as_ref().is_some_and(|known| report.counter <= known.report.counter) {
                return Err(Ignored::Stale);
            }
            *known = Some(Heard { report, at: now, from });
            return Ok(());
        }
        if self.is_listed {
            return Err(Ignored::Stranger);
        }
        let spoken_for = self.by_address.get(&from).copied().unwrap_or(0);
        if self.devices.len() >= MAX_DEVICES || spoken_for >= MAX_DEVICES_PER_ADDRESS {
            return Err(Ignored::TooMany);
        }
        self.by_address.insert(from, spoken_for + 1);
        self.devices.insert(report.device.clone(), Some(Heard { report, at: now, from }));
        Ok(())
    }

    /// Reports that counted for nothing for this reason.
    pub fn ignored(&self, reason: Ignored) -> u64 {
        self.ignored[reason as usize]
    }

    /// Rises with every report that counts.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// When a report that counts came last.
    pub fn last_heard_at(&self) -> Option<Duration> {
        self.devices.values().flatten().map(|heard| heard.at).max()
    }

    /// Every device in the order of their ids, where it stands at `now`, and its last word.
    pub fn stands(
        &self,
        now: Duration,
        silent_after: Duration,
    ) -> impl Iterator<Item = (&DeviceId, Stand, Option<&Heard>)> {
        self.devices.iter().map(move |(device, heard)| {
            let stand = match heard {
                None if now < silent_after => Stand::Said(DeviceState::Receiving),
                None => Stand::Silent,
                Some(heard) if heard.report.state != DeviceState::Receiving => Stand::Said(heard.report.state.clone()),
                Some(heard) if now.saturating_sub(heard.at) < silent_after => Stand::Said(DeviceState::Receiving),
                Some(_) => Stand::Silent,
            };
            (device, stand, heard.as_ref())
        })
    }

    /// The sum of it at `now`.
    pub fn tally(&self, now: Duration, silent_after: Duration) -> Tally {
        let mut tally = Tally::default();
        self.stands(now, silent_after).for_each(|(_, stand, heard)| tally.add(&stand, heard));
        tally.sort();
        tally
    }

    /// Whether there is nobody left to wait for: every device on the list has said how it ended.
    pub fn is_settled(&self) -> bool {
        let has_ended =
            |heard: &Option<Heard>| heard.as_ref().is_some_and(|heard| heard.report.state != DeviceState::Receiving);
        self.is_listed && self.devices.values().all(has_ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    const DIGEST: [u8; 32] = [1; 32];
    const SILENT_AFTER: Duration = Duration::from_secs(60);

    fn id(n: u32) -> DeviceId {
        format!("d{n}").parse().unwrap()
    }

    fn report(n: u32, counter: u64, state: DeviceState) -> DeviceReport {
        let (device, manifest_digest) = (id(n), DIGEST);
        DeviceReport { device, manifest_digest, counter, state, loss_ppm: None, fetched_bytes: 0 }
    }

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(0x0A00_0000 + n))
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_last_word_counts_and_who_says_nothing_is_silent() {
        let mut fleet = Fleet::new(DIGEST, (0..4).map(id));
        let stands = |fleet: &Fleet, now| -> Vec<&str> {
            fleet.stands(at(now), SILENT_AFTER).map(|(_, stand, _)| stand.name()).collect()
        };
        let failed = DeviceState::Failed { reason: "no room".into() };
        assert_eq!(stands(&fleet, 59), ["receiving"; 4]);
        for (n, counter, state) in
            [(0, 1, DeviceState::Receiving), (1, 1, DeviceState::Receiving), (2, 1, failed.clone())]
        {
            fleet.on_report(at(50), address(n), report(n, counter, state)).unwrap();
        }
        fleet.on_report(at(70), address(0), report(0, 2, DeviceState::Committed)).unwrap();
        assert_eq!(fleet.on_report(at(71), address(0), report(0, 2, failed.clone())), Err(Ignored::Stale));
        assert_eq!(stands(&fleet, 100), ["committed", "receiving", "failed", "silent"]);
        assert_eq!(stands(&fleet, 110), ["committed", "silent", "failed", "silent"]);
        assert!(!fleet.is_settled());
        assert_eq!(fleet.on_report(at(80), address(9), report(9, 1, DeviceState::Committed)), Err(Ignored::Stranger));
        let other = DeviceReport { manifest_digest: [2; 32], ..report(3, 9, DeviceState::Committed) };
        assert_eq!(fleet.on_report(at(80), address(3), other), Err(Ignored::OtherRelease));
        fleet.on_report(at(200), address(1), report(1, 2, DeviceState::Verified)).unwrap();
        fleet.on_report(at(200), address(3), report(3, 1, DeviceState::Activated)).unwrap();
        assert_eq!(stands(&fleet, 300), ["committed", "verified", "failed", "activated"]);
        assert!(fleet.is_settled());
        assert_eq!((fleet.ignored(Ignored::Stale), fleet.ignored(Ignored::Stranger), fleet.changes()), (1, 1, 6));
        assert_eq!(fleet.last_heard_at(), Some(at(200)));
    }

    #[test]
    fn without_a_list_invented_devices_are_bounded() {
        let mut fleet = Fleet::new(DIGEST, []);
        let flood = |fleet: &mut Fleet, from: u32| {
            (0..2_000u32)
                .filter(|n| {
                    fleet.on_report(at(0), address(from), report(from * 2_000 + n, 1, DeviceState::Committed)).is_ok()
                })
                .count()
        };
        assert_eq!(flood(&mut fleet, 0), MAX_DEVICES_PER_ADDRESS as usize);
        // A device that is known is heard from any address.
        fleet.on_report(at(1), address(7), report(0, 2, DeviceState::Committed)).unwrap();
        let taken: usize = (1..200).map(|from| flood(&mut fleet, from)).sum();
        assert_eq!(taken, MAX_DEVICES - MAX_DEVICES_PER_ADDRESS as usize);
        assert_eq!(fleet.devices.len(), MAX_DEVICES);
        assert!(!fleet.is_settled(), "nobody knows who is missing");
    }

    proptest! {
        /// Whatever order, repeats and lies: each device has the word of its highest counter, and everybody is counted once.
        #[test]
        fn every_device_is_counted_once_with_its_latest_word(
            listed in 0u32..20,
            reports in prop::collection::vec((0u32..30, 0u64..6, 0u8..5, 0u32..4), 0..200),
        ) {
            let mut fleet = Fleet::new(DIGEST, (0..listed).map(id));
            let mut model: BTreeMap<u32, (u64, &str)> = BTreeMap::new();
            for (n, counter, state, from) in reports {
                let state = match state {
                    0 => DeviceState::Receiving,
                    1 => DeviceState::Verified,
                    2 => DeviceState::Activated,
                    3 => DeviceState::Committed,
                    _ => DeviceState::Failed { reason: "x".into() },
                };
                let name = state.name();
                let taken = fleet.on_report(at(10), address(from), report(n, counter, state)).is_ok();
                let known = model.get(&n).map(|known| known.0);
                prop_assert_eq!(taken, (listed == 0 || n < listed) && known.is_none_or(|known| counter > known));
                if taken {
                    model.insert(n, (counter, name));
                }
            }
            let tally = fleet.tally(at(20), at(100));
            for (word, count) in tally.counts() {
                let mut expected = model.values().filter(|(_, name)| *name == word).count() as u64;
                if word == "receiving" {
                    expected += u64::from(listed) - if listed == 0 { 0 } else { model.len() as u64 };
                }
                prop_assert_eq!(count, expected, "{}", word);
            }
        }
    }
}
