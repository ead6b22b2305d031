//! The filters at work in this network namespace, whoever runs them.

use crate::channel::{Channel, Holder};
use crate::counters::Counters;
use crate::error::{FilterError, failed};
use crate::filter::{info_of, maps_of};
use crate::interface::{Attached, attached};
use aya::programs::{ProgramError, loaded_programs};
use std::net::IpAddr;

/// One filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Where it is.
    pub attached: Attached,
    /// The process that has attached it, by its own number (in another container, it is another here).
    pub owner_pid: Option<u32>,
    /// Whom it lets in, and for which process.
    pub channels: Vec<(Channel, Holder)>,
    /// Of the channels' groups, those whose other ports are shut too.
    pub exclusive: Vec<IpAddr>,
    /// What it has counted.
    pub counters: Counters,
}

/// Looks at every interface of this network namespace.
///
/// # Errors
/// [`FilterError::NotPermitted`] without CAP_SYS_ADMIN, and what the kernel refuses.
pub fn status() -> Result<Vec<Status>, FilterError> {
    // Interfaces tell numbers only; it takes a capability to see whose they are.
    if let Some(Err(error)) = loaded_programs().next() {
        return Err(failed::<ProgramError>("look at the filters of other processes", "CAP_SYS_ADMIN")(error));
    }
    let mut filters = Vec::new();
    for attached in attached()? {
        let &[program_id] = attached.program_ids.as_slice() else { continue };
        let Some(program) = info_of(program_id)? else { continue };
        let Some(maps) = maps_of(&program)? else { continue };
        let channels = maps.held()?;
        let groups = channels.iter().map(|(channel, _)| channel.group());
        let mut exclusive: Vec<IpAddr> = groups.filter(|group| maps.is_exclusive(*group)).collect();
        exclusive.dedup();
        let (owner_pid, counters) = (maps.owner_pid()?, maps.counters()?);
        filters.push(Status { attached, owner_pid, channels, exclusive, counters });
    }
    Ok(filters)
}
