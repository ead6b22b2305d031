//! What keeps packets of other sources away from this process: the XDP filter of `fleetcast_ebpf`, the socket's own filter by
//! its source-specific membership, or nothing.

pub mod privileges;
pub mod status;

use crate::ingest::Interface;
use clap::ValueEnum;
use fleetcast_ebpf::{Channel as Guarded, Counters, Filter, FilterError, Sample, interface};
use fleetcast_protocol::channel::Channel;
use std::time::Duration;
use thiserror::Error;

/// The filter is looked after so often: a guest's lease is five times as long.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Drops are told at most this often.
const TELL_INTERVAL: Duration = Duration::from_secs(10);
/// Sampled drops looked at in one go.
const SAMPLES_MAX: usize = 256;
/// Told with one event.
const EXAMPLES_MAX: usize = 5;

/// Which filter is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FilterMode {
    /// XDP where it can be had, else the socket's
    Auto,
    /// XDP: packets of other sources are dropped before the kernel has spent anything on them
    Xdp,
    /// The socket's: the kernel drops them at this program's socket
    Socket,
    /// None: joins the group for any source, and reads whatever comes
    Off,
}

/// Which filter is wanted, and how strict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterOptions {
    /// Which.
    pub mode: FilterMode,
    /// With XDP, drop what goes to other ports of the groups too.
    pub exclusive: bool,
}

/// What was chosen, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// `xdp`, `socket` or `off`.
    pub name: &'static str,
    /// For people.
    pub why: String,
    /// The kernel's number of the XDP program.
    pub program_id: Option<u32>,
    /// The process whose filter it is, if it is not this one.
    pub owner_pid: Option<u32>,
    /// With XDP, whether packets are still merged into super-packets.
    pub gro: Option<bool>,
}

/// What has happened since it was told last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Packets were dropped, these among them.
    Dropped {
        /// How many.
        packets: u64,
        /// A few of them, without repetition.
        examples: Vec<Sample>,
    },
    /// The program is no longer on the interface: the socket's filter is what is left.
    Gone {
        /// The process whose filter it was, if it was not this one.
        owner_pid: Option<u32>,
    },
}

/// Why what was asked for cannot be had.
#[derive(Debug, Error)]
#[error("--filter xdp: {0}; --filter auto goes on with the socket's own filter where XDP cannot be had")]
pub struct Unavailable(#[from] FilterError);

/// The filter of one receiver.
pub struct SourceFilter {
    xdp: Option<Filter>,
    next_look: Duration,
    next_tell: Duration,
    told_dropped: u64,
    /// Samples not told yet, without repetition.
    samples: Vec<Sample>,
}

impl SourceFilter {
    /// Sets up what is wanted for `channels`, before they are joined: some drivers take the link down for a moment.
    ///
    /// # Errors
    /// With [`FilterMode::Xdp`], when it cannot be had.
    pub fn open(
        options: FilterOptions,
        channels: &[Channel],
        interface: &Interface,
    ) -> Result<(Self, Chosen), Unavailable> {
        let (xdp, chosen) = match options.mode {
            FilterMode::Off => (None, Chosen::plain("off", "whatever is sent to the group is read")),
            FilterMode::Socket => (None, Chosen::socket("")),
            FilterMode::Xdp => with_xdp(options, channels, interface)?,
            FilterMode::Auto if channels.iter().any(|channel| channel.source.is_none()) => {
                (None, Chosen::plain("off", "an any-source group has no source to filter by"))
            }
            FilterMode::Auto => with_xdp(options, channels, interface)
                .unwrap_or_else(|error| (None, Chosen::socket(&format!(", because {error}")))),
        };
        let zero = Duration::ZERO;
        Ok((Self { xdp, next_look: zero, next_tell: zero, told_dropped: 0, samples: Vec::new() }, chosen))
    }

    /// Looks after it, when it is time.
    pub fn tend(&mut self, now: Duration) -> Option<News> {
        let filter = self.xdp.as_mut().filter(|_| now >= self.next_look)?;
        self.next_look = now + LOOK_INTERVAL;
        // When the kernel does not tell, it is looked at again in a second.
        if let Ok(false) = filter.is_at_work() {
            let owner_pid = filter.owner_pid();
            self.xdp = None;
            return Some(News::Gone { owner_pid });
        }
        let _ = filter.keep();
        for sample in filter.samples(SAMPLES_MAX) {
            if self.samples.len() < EXAMPLES_MAX && !self.samples.contains(&sample) {
                self.samples.push(sample);
            }
        }
        let dropped = filter.counters().ok()?.dropped();
        if dropped == self.told_dropped || now < self.next_tell {
            return None;
        }
        self.next_tell = now + TELL_INTERVAL;
        let packets = dropped - std::mem::replace(&mut self.told_dropped, dropped);
        Some(News::Dropped { packets, examples: std::mem::take(&mut self.samples) })
    }

    /// What XDP has counted, if it is at work.
    pub fn counters(&self) -> Option<Counters> {
        self.xdp.as_ref()?.counters().ok()
    }
}

impl Chosen {
    fn plain(name: &'static str, why: &str) -> Self {
        Self { name, why: why.to_owned(), program_id: None, owner_pid: None, gro: None }
    }

    fn socket(because: &str) -> Self {
        Self::plain("socket", &format!("the kernel drops other sources at this program's socket{because}"))
    }
}

fn with_xdp(
    options: FilterOptions,
    channels: &[Channel],
    interface: &Interface,
) -> Result<(Option<Filter>, Chosen), FilterError> {
    let mut filter = Filter::open(&interface.name, interface.index, options.exclusive)?;
    for channel in channels {
        let source = channel.source.unwrap_or(channel.group);
        filter.guard(Guarded::new(source, channel.group, channel.port)?)?;
    }
    let (gro, gro_text) = keep_gro(&interface.name);
    let owner_pid = filter.owner_pid();
    let place = match (filter.is_guest(), owner_pid) {
        (false, _) => format!("natively on {}", interface.name),
        (true, None) => format!("in the filter that another process has on {}", interface.name),
        (true, Some(pid)) => format!("in the filter that process {pid} has on {}", interface.name),
    };
    let why = format!("other sources are dropped by the driver, {place}{gro_text}");
    let chosen = Chosen { name: "xdp", why, program_id: Some(filter.program_id()), owner_pid, gro };
    Ok((Some(filter), chosen))
}

/// Without GRO every packet of a super-packet is received by itself, which costs several times as much. A veth has it off by
/// default, and needs it as soon as there is a program.
fn keep_gro(name: &str) -> (Option<bool>, String) {
    match interface::gro(name) {
        Ok(true) => (Some(true), "; GRO is on".to_owned()),
        Ok(false) => match interface::set_gro(name, true).and_then(|()| interface::gro(name)) {
            Ok(true) => (Some(true), "; GRO was off, is on now and stays on".to_owned()),
            _ => {
                (Some(false), format!("; GRO is off and packets cost several times as much: ethtool -K {name} gro on"))
            }
        },
        Err(error) => (None, format!("; whether GRO is on is unknown ({error})")),
    }
}
