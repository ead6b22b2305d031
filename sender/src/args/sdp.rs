//! Arguments of `sdp`.

use crate::rate::parse_rate;
use anyhow::Result;
use clap::Args;
use fleetcast_protocol::channel::Channel;
use fleetcast_protocol::sdp::SessionDescription;
use std::net::IpAddr;

/// Arguments of `sdp`.
#[derive(Debug, Args)]
pub struct SdpArgs {
    /// Address that sends
    #[arg(long)]
    pub source: Option<IpAddr>,
    /// Multicast group
    #[arg(long)]
    pub group: IpAddr,
    /// UDP port of the group
    #[arg(long)]
    pub port: u16,
    /// Name of the session
    #[arg(long, default_value = "fleetcast")]
    pub name: String,
    /// Transport session id, when the sender is given one
    #[arg(long)]
    pub tsi: Option<u32>,
    /// TTL
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..))]
    pub ttl: Option<u8>,
    /// Bits a second, such as 100M
    #[arg(long, value_parser = parse_rate)]
    pub rate: Option<u64>,
}

impl SdpArgs {
    /// The session description; `session_id` makes it unique.
    pub fn into_description(self, session_id: u64) -> Result<SessionDescription> {
        Ok(SessionDescription {
            channel: Channel::new(self.source, self.group, self.port)?,
            tsi: self.tsi,
            name: self.name,
            ttl: self.ttl,
            rate_kbit_s: self.rate.map(|rate_bps| rate_bps.div_ceil(1000)),
            session_id,
            session_version: session_id,
        })
    }
}
