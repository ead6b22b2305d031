//! The session description: a channel in a file, by SDP (RFC 8866) with a source filter (RFC 4570).
//!
//! It tells a receiver where to listen and nothing about whom to trust.

mod parse;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use crate::channel::{Channel, ChannelError};

/// Longest description read, in bytes.
pub const MAX_SDP_LEN: usize = 16 * 1024;
/// Most characters of the session name that are written.
pub const MAX_SDP_NAME_CHARS: usize = 255;
/// TTL written for an IPv4 group when none is given: RFC 8866 §5.7 wants one, and this one limits nothing.
const UNLIMITED_TTL: u8 = 255;

/// One FLUTE session on one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionDescription {
    /// Where the session is sent, and by whom.
    pub channel: Channel,
    /// Transport session identifier; `None`: any session on the channel.
    pub tsi: Option<u32>,
    /// Session name for people, empty if it has none.
    pub name: String,
    /// IPv4 time to live; never written for IPv6.
    pub ttl: Option<u8>,
    /// Highest rate of the session, in kbit/s.
    pub rate_kbit_s: Option<u64>,
    /// Id of the session in the `o=` line, the caller's to choose.
    pub session_id: u64,
    /// Version of the description in the `o=` line: higher for every change.
    pub session_version: u64,
}

/// Why a text is no description of a session that can be received.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SdpError {
    /// Refused before parsing.
    #[error("the session description has {0} bytes, more than the {MAX_SDP_LEN} that are read")]
    TooLong(usize),
    /// A line is wrong.
    #[error("line {line} of the session description: {problem}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: LineProblem,
    },
    /// A line that must be there is not.
    #[error("the session description has no {0} line")]
    Missing(&'static str),
    /// The lines are right and do not make a channel.
    #[error("the session description names no usable channel: {0}")]
    Channel(#[from] ChannelError),
}

/// What is wrong with one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LineProblem {
    /// Not `x=value`.
    #[error("it is not of the form x=value")]
    Syntax,
    /// A type letter that RFC 8866 does not know: the whole description is to be refused (§5).
    #[error("its type letter is unknown")]
    UnknownType,
    /// A control character.
    #[error("it contains a control character")]
    Control,
    /// Not `v=0`.
    #[error("the first line must be v=0")]
    Version,
    /// A second line where one is allowed.
    #[error("there is a second {0} line")]
    Repeated(&'static str),
    /// The `o=` line.
    #[error("it must read o=NAME ID VERSION IN IP4|IP6 ADDRESS, with numbers for ID and VERSION")]
    Origin,
    /// The `c=` line.
    #[error("it must read c=IN IP4 GROUP/TTL or c=IN IP6 GROUP, with one multicast address")]
    Connection,
    /// The `b=AS:` line.
    #[error("it must read b=AS:KBIT_PER_S, with a whole number")]
    Bandwidth,
    /// The `m=` line.
    #[error("it must read m=application PORT FLUTE/UDP 0, with one port from 1 to 65535")]
    Media,
    /// A second FLUTE medium.
    #[error("there is a second FLUTE channel; describe one channel per file")]
    ManyMedia,
    /// The `a=source-filter` line.
    #[error("it must read a=source-filter: incl IN IP4|IP6 GROUP SOURCE, with addresses and no host names")]
    SourceFilter,
    /// `excl` instead of `incl`.
    #[error("source filters that exclude are not supported; name the one source to include (incl)")]
    ExcludingFilter,
    /// More than one source.
    #[error("more than one source is named; a session has one")]
    ManySources,
    /// The `a=flute-tsi` line.
    #[error("it must read a=flute-tsi:N, with a number from 0 to 4294967295")]
    Tsi,
}

impl SessionDescription {
    /// Reads a description with one FLUTE channel. Lines end in CR LF or LF; media of other kinds, attributes and
    /// bandwidths that mean nothing to us are skipped.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        parse::parse(text)
    }

    /// The text, always the same for the same values, with CR LF line ends.
    ///
    /// Control characters in the name become spaces, so that no name can add lines.
    pub fn to_sdp(&self) -> String {
        let Channel { source, group, port } = self.channel;
        let family = if group.is_ipv4() { "IP4" } else { "IP6" };
        let unspecified = match group {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        let origin = source.unwrap_or(unspecified);
        let mut lines = vec![
            "v=0".to_owned(),
            format!("o=- {} {} IN {family} {origin}", self.session_id, self.session_version),
            format!("s={}", one_line_name(&self.name)),
        ];
        lines.push(match group {
            IpAddr::V4(_) => format!("c=IN IP4 {group}/{}", self.ttl.unwrap_or(UNLIMITED_TTL)),
            IpAddr::V6(_) => format!("c=IN IP6 {group}"),
        });
        lines.extend(self.rate_kbit_s.map(|rate| format!("b=AS:{rate}")));
        lines.push("t=0 0".to_owned());
        lines.extend(source.map(|source| format!("a=source-filter: incl IN {family} {group} {source}")));
        lines.push(format!("m=application {port} FLUTE/UDP 0"));
        lines.extend(self.tsi.map(|tsi| format!("a=flute-tsi:{tsi}")));
        lines.into_iter().map(|line| line + "\r\n").collect()
    }
}

/// A name for the `s=` line; RFC 8866 §5.3 wants `-` when there is none.
fn one_line_name(name: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let name: String = name.chars().take(MAX_SDP_NAME_CHARS).map(printable).collect();
    if name.trim().is_empty() { "-".to_owned() } else { name }
}
