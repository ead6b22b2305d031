//! The program's maps: whom it guards, and what it has counted.
//!
//! Several processes may write them, each for its channels: the one that attached the program, and guests. So whoever
//! changes a group looks again at what it wrote, and a guest's channels hold for a lease, because nobody tells when a
//! guest was killed.

use crate::channel::{CHANNEL_BYTES, Channel, GUARD_V4_BYTES, GUARD_V6_BYTES, Guard};
use crate::counters::{COUNTERS_BYTES, Counters};
use crate::error::{FilterError, failed, io_error};
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use rustix::time::{ClockId, clock_gettime};
use std::net::IpAddr;

/// As in the program.
const GROUPS_MAX: u32 = 256;
const CHANNELS_MAX: u32 = 4096;
/// Writers of one group that hinder each other more often than this are no accident.
const SETTLE_MAX: usize = 16;
const NEEDS: &str = "CAP_BPF";

/// Until when a channel is guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lease {
    /// As long as the program is there.
    Owner,
    /// So many seconds from now on.
    Seconds(u64),
}

impl Lease {
    fn until_s(self) -> u64 {
        match self {
            Self::Owner => u64::MAX,
            Self::Seconds(seconds) => now_s() + seconds,
        }
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
    /// To each channel, until when it holds; the program looks only whether it is there.
    channels: HashMap<MapData, [u8; CHANNEL_BYTES], u64>,
    counters: PerCpuArray<MapData, [u8; COUNTERS_BYTES]>,
    owner_pid: Array<MapData, u32>,
}

impl Maps {
    /// Takes each map by its name.
    pub(crate) fn collect(mut take: impl FnMut(&'static str) -> Result<Map, FilterError>) -> Result<Self, FilterError> {
        let wrong = || failed::<MapError>("open the maps of the filter", NEEDS);
        Ok(Self {
            groups_v4: HashMap::try_from(take("groups_v4")?).map_err(wrong())?,
            groups_v6: HashMap::try_from(take("groups_v6")?).map_err(wrong())?,
            channels: HashMap::try_from(take("channels")?).map_err(wrong())?,
            counters: PerCpuArray::try_from(take("counters")?).map_err(wrong())?,
            owner_pid: Array::try_from(take("owner_pid")?).map_err(wrong())?,
        })
    }

    /// The process that has attached the program, by its own number.
    pub(crate) fn owner_pid(&self) -> Result<u32, FilterError> {
        self.owner_pid.get(&0, 0).map_err(failed("read whose the filter is", NEEDS))
    }

    pub(crate) fn set_owner_pid(&mut self, pid: u32) -> Result<(), FilterError> {
        self.owner_pid.set(0, pid, 0).map_err(failed("write whose the filter is", NEEDS))
    }

    pub(crate) fn counters(&self) -> Result<Counters, FilterError> {
        let cpus = self.counters.get(&0, 0).map_err(failed("read the counters of the filter", NEEDS))?;
        Ok(Counters::sum(cpus.iter()))
    }

    /// All channels, in order.
    pub(crate) fn channels(&self) -> Result<Vec<Channel>, FilterError> {
        Ok(self.leases()?.into_iter().map(|(channel, _)| channel).collect())
    }

    /// Whether other ports of a group are dropped.
    pub(crate) fn is_exclusive(&self, group: IpAddr) -> bool {
        self.guard_of(group).is_some_and(|guard| guard.exclusive)
    }

    /// Lets a channel in, and shuts its group and port to others. Once more, it only prolongs the lease.
    pub(crate) fn guard(&mut self, channel: Channel, lease: Lease, exclusive: bool) -> Result<(), FilterError> {
        let full = |error| full_or_failed(&error, "channel", CHANNELS_MAX);
        self.channels.insert(channel.key(), lease.until_s(), 0).map_err(full)?;
        self.channels.insert(channel.port_key(), u64::MAX, 0).map_err(full)?;
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
        let ended: Vec<Channel> =
            self.leases()?.into_iter().filter(|(_, until_s)| *until_s < now_s).map(|(channel, _)| channel).collect();
        ended.into_iter().try_for_each(|channel| self.unguard(channel))
    }

    fn leases(&self) -> Result<Vec<(Channel, u64)>, FilterError> {
        let mut leases = Vec::new();
        for entry in self.channels.iter() {
            match entry {
                Ok((key, until_s)) => leases.extend(Channel::from_key(&key).map(|channel| (channel, until_s))),
                // Another process took it away meanwhile.
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(failed("read the channels of the filter", NEEDS)(error)),
            }
        }
        leases.sort_unstable();
        Ok(leases)
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
