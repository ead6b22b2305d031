//! The program's maps: whom it guards, and what it has counted.
//!
//! Several processes may write them, each for its channels: the one that attached the program, and guests. So whoever
//! changes a group looks again at what it wrote, and a guest's channels hold for a lease, because nobody tells when a
//! guest was killed.

use crate::channel::{CHANNEL_BYTES, Channel, GUARD_V4_BYTES, GUARD_V6_BYTES, Guard, HOLDER_BYTES, Holder};
use crate::counters::{Counters, Verdict};
use crate::error::{FilterError, failed, io_error};
use aya::maps::{HashMap, Map, MapData, MapError, MapType, PerCpuArray};
use rustix::time::{ClockId, clock_gettime};
use std::net::IpAddr;

/// As in the program.
const GROUPS_MAX: u32 = 256;
const CHANNELS_MAX: u32 = 4096;
const VERDICTS: u32 = 9;
/// Writers of one group that hinder each other more often than this are no accident.
const SETTLE_MAX: usize = 16;
const NEEDS: &str = "CAP_BPF";

/// What distinguishes a map: a loader without CAP_PERFMON cannot give maps and programs names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) kind: MapType,
    pub(crate) key_bytes: usize,
    pub(crate) value_bytes: usize,
    pub(crate) entries: u32,
}

/// All maps but the one for samples, which only the owner reads.
pub(crate) const SHAPES: [Shape; 4] = [
    Shape { name: "groups_v4", kind: MapType::Hash, key_bytes: 4, value_bytes: GUARD_V4_BYTES, entries: GROUPS_MAX },
    Shape { name: "groups_v6", kind: MapType::Hash, key_bytes: 16, value_bytes: GUARD_V6_BYTES, entries: GROUPS_MAX },
    Shape {
        name: "channels",
        kind: MapType::Hash,
        key_bytes: CHANNEL_BYTES,
        value_bytes: HOLDER_BYTES,
        entries: CHANNELS_MAX,
    },
    Shape { name: "packets", kind: MapType::PerCpuArray, key_bytes: 4, value_bytes: 8, entries: VERDICTS },
];

/// Until when a channel is guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lease {
    /// As long as the program is there.
    Owner,
    /// So many seconds from now on.
    Seconds(u64),
}

impl Lease {
    /// For this process.
    fn holder(self) -> Holder {
        let until_s = match self {
            Self::Owner => u64::MAX,
            Self::Seconds(seconds) => now_s() + seconds,
        };
        Holder { until_s, pid: std::process::id() }
    }
}

/// Seconds of the clock that leases are told in, the same for all processes, whatever is done to the wall clock.
fn now_s() -> u64 {
    u64::try_from(clock_gettime(ClockId::Boottime).tv_sec).unwrap_or_default()
}

/// The maps of one program.
pub(crate) struct Maps {
    groups_v4: HashMap<MapData, [u8; 4], [u8; GUARD_V4_BYTES]>,
    groups_v6: HashMap<MapData, [u8; 16], [u8; GUARD_V6_BYTES]>,
    /// To each channel, who holds it; the program looks only whether it is there.
    channels: HashMap<MapData, [u8; CHANNEL_BYTES], [u8; HOLDER_BYTES]>,
    packets: PerCpuArray<MapData, u64>,
}

impl Maps {
    /// Takes each map by its name and shape.
    pub(crate) fn collect(mut take: impl FnMut(&Shape) -> Result<Map, FilterError>) -> Result<Self, FilterError> {
        let wrong = || failed::<MapError>("open the maps of the filter", NEEDS);
        let [groups_v4, groups_v6, channels, packets] = &SHAPES;
        Ok(Self {
            groups_v4: HashMap::try_from(take(groups_v4)?).map_err(wrong())?,
            groups_v6: HashMap::try_from(take(groups_v6)?).map_err(wrong())?,
            channels: HashMap::try_from(take(channels)?).map_err(wrong())?,
            packets: PerCpuArray::try_from(take(packets)?).map_err(wrong())?,
        })
    }

    /// The process that has attached the program, by its own number, as long as it guards anything.
    pub(crate) fn owner_pid(&self) -> Result<Option<u32>, FilterError> {
        Ok(self.held()?.iter().find(|(_, holder)| holder.is_owner()).map(|(_, holder)| holder.pid))
    }

    pub(crate) fn counters(&self) -> Result<Counters, FilterError> {
        let mut counters = Counters::default();
        for verdict in Verdict::ALL {
            let cpus = self.packets.get(&(verdict as u32), 0);
            let cpus = cpus.map_err(failed("read the counters of the filter", NEEDS))?;
            cpus.iter().for_each(|packets| counters.add(verdict, *packets));
        }
        Ok(counters)
    }

    /// All channels, in order.
    pub(crate) fn channels(&self) -> Result<Vec<Channel>, FilterError> {
        Ok(self.held()?.into_iter().map(|(channel, _)| channel).collect())
    }

    /// Whether other ports of a group are dropped.
    pub(crate) fn is_exclusive(&self, group: IpAddr) -> bool {
        self.guard_of(group).is_some_and(|guard| guard.exclusive)
    }

    /// Lets a channel in, and shuts its group and port to others. Once more, it only prolongs the lease.
    pub(crate) fn guard(&mut self, channel: Channel, lease: Lease, exclusive: bool) -> Result<(), FilterError> {
        let full = |error| full_or_failed(&error, "channel", CHANNELS_MAX);
        self.channels.insert(channel.key(), lease.holder().bytes(), 0).map_err(full)?;
        self.channels.insert(channel.port_key(), [0; HOLDER_BYTES], 0).map_err(full)?;
        self.settle(channel.group(), None, exclusive)
    }

    /// Takes a channel away; others of its group stay.
    pub(crate) fn unguard(&mut self, channel: Channel) -> Result<(), FilterError> {
        // The group first: what is guarded must not be without its channels for a moment.
        self.settle(channel.group(), Some(channel), false)?;
        self.remove(channel.key())?;
        let same_port = |it: &Channel| it.group() == channel.group() && it.port() == channel.port();
        if !self.channels()?.iter().any(same_port) {
            self.remove(channel.port_key())?;
        }
        self.settle(channel.group(), None, false)
    }

    /// Takes away the channels whose lease has ended.
    pub(crate) fn expire(&mut self) -> Result<(), FilterError> {
        let now_s = now_s();
        let ended = self.held()?.into_iter().filter(|(_, holder)| holder.until_s < now_s);
        ended.collect::<Vec<_>>().into_iter().try_for_each(|(channel, _)| self.unguard(channel))
    }

    /// All channels with who holds them, in order.
    pub(crate) fn held(&self) -> Result<Vec<(Channel, Holder)>, FilterError> {
        let mut held = Vec::new();
        for entry in self.channels.iter() {
            match entry {
                Ok((key, bytes)) => held.extend(Channel::from_key(&key).map(|channel| (channel, Holder::read(bytes)))),
                // Another process took it away meanwhile.
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(failed("read the channels of the filter", NEEDS)(error)),
            }
        }
        held.sort_unstable();
        Ok(held)
    }

    fn remove(&mut self, key: [u8; CHANNEL_BYTES]) -> Result<(), FilterError> {
        match self.channels.remove(&key) {
            Err(error) if !is_missing(&error) => Err(failed("change the channels of the filter", NEEDS)(error)),
            _ => Ok(()),
        }
    }

    /// Writes the group's guard until it agrees with the channels, but for `without`. Of writers at the same time the last
    /// one looks at the channels of all.
    fn settle(&mut self, group: IpAddr, without: Option<Channel>, exclusive: bool) -> Result<(), FilterError> {
        for _ in 0..SETTLE_MAX {
            let there = self.guard_of(group);
            let mut channels = self.channels()?;
            channels.retain(|channel| channel.group() == group && Some(*channel) != without);
            let wanted = channels.first().map(|first| Guard {
                first: *first,
                more: channels.len() > 1,
                exclusive: exclusive || there.is_some_and(|guard| guard.exclusive),
            });
            if wanted == there {
                return Ok(());
            }
            self.write_guard(group, wanted)?;
        }
        Err(FilterError::Kernel {
            what: "guard a group",
            reason: format!("other processes keep changing the channels of {group}"),
        })
    }

    fn guard_of(&self, group: IpAddr) -> Option<Guard> {
        match group {
            IpAddr::V4(v4) => Guard::read(group, &self.groups_v4.get(&v4.octets(), 0).ok()?),
            IpAddr::V6(v6) => Guard::read(group, &self.groups_v6.get(&v6.octets(), 0).ok()?),
        }
    }

    fn write_guard(&mut self, group: IpAddr, guard: Option<Guard>) -> Result<(), FilterError> {
        let result = match (group, guard) {
            (IpAddr::V4(group), Some(guard)) => self.groups_v4.insert(group.octets(), guard.bytes(), 0),
            (IpAddr::V6(group), Some(guard)) => self.groups_v6.insert(group.octets(), guard.bytes(), 0),
            (IpAddr::V4(group), None) => self.groups_v4.remove(&group.octets()),
            (IpAddr::V6(group), None) => self.groups_v6.remove(&group.octets()),
        };
        match result {
            Err(error) if !is_missing(&error) => Err(full_or_failed(&error, "group", GROUPS_MAX)),
            _ => Ok(()),
        }
    }
}

fn is_missing(error: &MapError) -> bool {
    matches!(error, MapError::KeyNotFound) || errno(error) == Some(libc::ENOENT)
}

fn errno(error: &MapError) -> Option<i32> {
    io_error(error).and_then(|error| error.raw_os_error())
}

fn full_or_failed(error: &MapError, what: &'static str, most: u32) -> FilterError {
    match errno(error) {
        Some(libc::E2BIG) => FilterError::Full { what, most },
        _ => FilterError::Kernel { what: "change what the filter guards", reason: crate::error::chain(error) },
    }
}
