//! How much memory a resident pass takes, and whether there is so much.

use fleetcast_protocol::session::Schedule;
use std::fs;
use std::path::Path;
use thiserror::Error;

/// Sets of repair symbols that are kept, and repeated in turn.
///
/// Each costs the planned share of the image. Four of them mean that a receiver sees fresh repair in its first four passes: at 5 %
/// they add up to what rides out 20 % loss, and beyond that every pass brings all source symbols again.
pub const REPAIR_SETS: u32 = 4;

/// Why a pass cannot stay in memory.
#[derive(Debug, Error)]
pub enum ResidentError {
    /// It does not fit.
    #[error(
        "--resident needs {} MiB of memory for the packets of a pass and {REPAIR_SETS} sets of repair, and {} MiB are available; \
         send without it, or plan less --repair",
        need >> 20,
        available >> 20
    )]
    Memory {
        /// Bytes needed.
        need: u64,
        /// Bytes available.
        available: u64,
    },
    /// There are more slots than can be numbered.
    #[error("--resident would need {0} slots; send with a larger --burst, or without it")]
    Slots(u64),
}

/// Slots that all groups of a pass and its repair sets take, with `slot_packets` packets in each.
pub fn places(schedule: &Schedule, slot_packets: usize) -> Result<u32, ResidentError> {
    let slots_of = |symbols: u64| symbols.div_ceil(slot_packets.max(1) as u64);
    let windows = (0u16..).map_while(|index| schedule.window(index));
    let slots: u64 = windows
        // A window's sections end in slots of their own; a short symbol ends one more.
        .map(|window| slots_of(window.source().len()) + u64::from(REPAIR_SETS) * slots_of(window.repair().len()) + 1)
        .sum();
    u32::try_from(slots).map_err(|_| ResidentError::Slots(slots))
}

/// An error when `need` bytes are more than this process can get; nothing when the kernel does not tell.
pub fn check_memory(need: u64) -> Result<(), ResidentError> {
    match available(Path::new("/proc"), Path::new("/sys/fs/cgroup")) {
        Some(available) if need > available => Err(ResidentError::Memory { need, available }),
        _ => Ok(()),
    }
}

/// Bytes that can be had without swapping: what the kernel estimates, and what the control group still allows.
fn available(proc: &Path, cgroups: &Path) -> Option<u64> {
    let meminfo = fs::read_to_string(proc.join("meminfo")).ok()?;
    let free = field(&meminfo, "MemAvailable:")?.saturating_add(huge_pages(&meminfo).unwrap_or(0));
    let group = fs::read_to_string(proc.join("self/cgroup")).ok();
    let group = group.as_deref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("0::/")));
    let folder = cgroups.join(group.unwrap_or(""));
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let allowed = read("memory.max").zip(read("memory.current")).map(|(most, now)| most.saturating_sub(now));
    Some(allowed.map_or(free, |allowed| allowed.min(free)))
}

/// Bytes of free huge pages, which the kernel does not count as available.
fn huge_pages(meminfo: &str) -> Option<u64> {
    let count = field(meminfo, "HugePages_Free:")? / 1024;
    Some(count * field(meminfo, "Hugepagesize:")?)
}

/// A field of meminfo in bytes (its unit is KiB, also of counts as far as this function goes).
fn field(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetcast_protocol::partition::Partition;

    #[test]
    fn counts_the_slots_of_every_section() {
        let partition = Partition::new(64 * 1000, 64, 5).unwrap();
        let schedule = Schedule::new(partition, 2, 10, 10);
        // Windows of 400, 400 and 200 source symbols and 20, 20 and 10 of repair.
        let expected = (400 / 45 + 1 + 4 + 1) * 2 + (200 / 45 + 1 + 4 + 1);
        assert_eq!(places(&schedule, 45).unwrap(), expected);
    }

    #[test]
    fn what_the_control_group_allows_counts() {
        let folder = tempfile::tempdir().unwrap();
        let (proc, groups) = (folder.path().join("proc"), folder.path().join("groups"));
        fs::create_dir_all(proc.join("self")).unwrap();
        fs::create_dir_all(groups.join("a/b")).unwrap();
        fs::write(proc.join("meminfo"), "MemTotal: 9 kB\nMemAvailable:   5000 kB\n").unwrap();
        fs::write(proc.join("self/cgroup"), "0::/a/b\n").unwrap();
        assert_eq!(available(&proc, &groups), Some(5000 << 10));
        fs::write(groups.join("a/b/memory.max"), "1000000\n").unwrap();
        fs::write(groups.join("a/b/memory.current"), "400000\n").unwrap();
        assert_eq!(available(&proc, &groups), Some(600_000));
        fs::write(groups.join("a/b/memory.max"), "max\n").unwrap();
        let huge = "MemAvailable: 5000 kB\nHugePages_Free:   3\nHugepagesize: 2048 kB\n";
        fs::write(proc.join("meminfo"), huge).unwrap();
        assert_eq!(available(&proc, &groups), Some((5000 + 3 * 2048) << 10));
    }

    #[test]
    fn says_how_much_is_needed() {
        check_memory(1).unwrap();
        let error = check_memory(1 << 50).unwrap_err().to_string();
        assert!(error.contains("needs 1073741824 MiB") && error.contains("available"), "{error}");
    }
}
