//! Reading SDP, line by line.

use std::net::IpAddr;

use super::{LineProblem, MAX_SDP_LEN, SdpError, SessionDescription};
use crate::channel::Channel;

/// What both the session and a medium can say; a medium's word counts more.
#[derive(Debug, Default)]
struct Level {
    connection: Option<(IpAddr, Option<u8>)>,
    rate_kbit_s: Option<u64>,
    filters: Vec<Filter>,
    tsi: Option<u32>,
}

/// One `a=source-filter` line.
#[derive(Debug, Clone, Copy)]
struct Filter {
    line: usize,
    /// The group that it is about, `None` for `*`.
    group: Option<IpAddr>,
    source: IpAddr,
}

/// Whose lines are being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Session,
    Flute,
    /// A medium that is not ours: its lines are checked for form and mean nothing.
    Other,
}

#[derive(Debug)]
struct Parser {
    section: Section,
    origin: Option<(u64, u64)>,
    name: Option<String>,
    session: Level,
    media: Level,
    port: Option<u16>,
}

pub(super) fn parse(text: &str) -> Result<SessionDescription, SdpError> {
    if text.len() > MAX_SDP_LEN {
        return Err(SdpError::TooLong(text.len()));
    }
    let mut parser = Parser {
        section: Section::Session,
        origin: None,
        name: None,
        session: Level::default(),
        media: Level::default(),
        port: None,
    };
    let mut first = true;
    for (line, content) in (1..).zip(text.split('\n')) {
        let content = content.strip_suffix('\r').unwrap_or(content);
        if content.is_empty() {
            continue;
        }
        parser.line(line, content, first).map_err(|problem| SdpError::Line { line, problem })?;
        first = false;
    }
    parser.finish()
}

impl Parser {
    fn line(&mut self, line: usize, content: &str, first: bool) -> Result<(), LineProblem> {
        if content.chars().any(char::is_control) {
            return Err(LineProblem::Control);
        }
        let (letter, value) = content.split_once('=').ok_or(LineProblem::Syntax)?;
        if first != (letter == "v") || first && value != "0" {
            return Err(LineProblem::Version);
        }
        match letter {
            "v" | "i" | "u" | "e" | "p" | "t" | "r" | "z" | "k" => Ok(()),
            "o" => once(&mut self.origin, origin(value)?, "o="),
            "s" => once(&mut self.name, value.trim().to_owned(), "s="),
            "c" => self.connection(value),
            "b" => self.bandwidth(value),
            "a" => self.attribute(line, value),
            "m" => self.medium(value),
            _ if letter.chars().count() == 1 => Err(LineProblem::UnknownType),
            _ => Err(LineProblem::Syntax),
        }
    }

    /// Where the lines of the current section go, if they mean anything.
    fn level(&mut self) -> Option<&mut Level> {
        match self.section {
            Section::Session => Some(&mut self.session),
            Section::Flute => Some(&mut self.media),
            Section::Other => None,
        }
    }

    fn connection(&mut self, value: &str) -> Result<(), LineProblem> {
        let Some(level) = self.level() else { return Ok(()) };
        once(&mut level.connection, connection(value).ok_or(LineProblem::Connection)?, "c=")
    }

    fn bandwidth(&mut self, value: &str) -> Result<(), LineProblem> {
        let (Some(level), Some(rate)) = (self.level(), value.strip_prefix("AS:")) else { return Ok(()) };
        once(&mut level.rate_kbit_s, number(rate).ok_or(LineProblem::Bandwidth)?, "b=AS")
    }

    fn attribute(&mut self, line: usize, value: &str) -> Result<(), LineProblem> {
        let Some(level) = self.level() else { return Ok(()) };
        match value.split_once(':') {
            Some(("source-filter", filter)) => {
                let (group, source) = source_filter(filter)?;
                level.filters.push(Filter { line, group, source });
                Ok(())
            }
            Some(("flute-tsi", tsi)) => {
                let tsi = number(tsi).and_then(|tsi| u32::try_from(tsi).ok()).ok_or(LineProblem::Tsi)?;
                once(&mut level.tsi, tsi, "a=flute-tsi")
            }
            _ => Ok(()),
        }
    }

    fn medium(&mut self, value: &str) -> Result<(), LineProblem> {
        let mut words = value.split_ascii_whitespace();
        let (Some(_), Some(port), Some(protocol)) = (words.next(), words.next(), words.next()) else {
            return Err(LineProblem::Media);
        };
        if protocol != "FLUTE/UDP" {
            self.section = Section::Other;
            return Ok(());
        }
        if self.port.is_some() {
            return Err(LineProblem::ManyMedia);
        }
        let port = port.strip_suffix("/1").unwrap_or(port);
        let port = number(port).and_then(|port| u16::try_from(port).ok()).filter(|&port| port != 0);
        self.port = Some(port.ok_or(LineProblem::Media)?);
        self.section = Section::Flute;
        Ok(())
    }

    fn finish(self) -> Result<SessionDescription, SdpError> {
        let Self { origin, name, session, media, port, .. } = self;
        let (session_id, session_version) = origin.ok_or(SdpError::Missing("o="))?;
        let name = name.ok_or(SdpError::Missing("s="))?;
        let port = port.ok_or(SdpError::Missing("m=application PORT FLUTE/UDP 0"))?;
        let (group, ttl) = media.connection.or(session.connection).ok_or(SdpError::Missing("c="))?;
        let source = match only_source(&media.filters, group)? {
            Some(source) => Some(source),
            None => only_source(&session.filters, group)?,
        };
        Ok(SessionDescription {
            channel: Channel::new(source, group, port)?,
            tsi: media.tsi.or(session.tsi),
            name: if name == "-" { String::new() } else { name },
            ttl,
            rate_kbit_s: media.rate_kbit_s.or(session.rate_kbit_s),
            session_id,
            session_version,
        })
    }
}

/// Sets what may be set once.
fn once<T>(slot: &mut Option<T>, value: T, line: &'static str) -> Result<(), LineProblem> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(LineProblem::Repeated(line)),
    }
}

/// Decimal digits and nothing else: no sign, no space.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Session id and version of `NAME ID VERSION IN IP4 ADDRESS`; who that is does not matter.
fn origin(value: &str) -> Result<(u64, u64), LineProblem> {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    let [_name, id, version, _network, _family, _address] = words[..] else { return Err(LineProblem::Origin) };
    Ok((number(id).ok_or(LineProblem::Origin)?, number(version).ok_or(LineProblem::Origin)?))
}

/// An address of the family that stands before it; SDP writes `*` where either will do.
fn address(family: &str, text: &str) -> Option<IpAddr> {
    let address: IpAddr = text.parse().ok()?;
    let fits = match family {
        "IP4" => address.is_ipv4(),
        "IP6" => address.is_ipv6(),
        other => other == "*",
    };
    fits.then_some(address)
}

/// Group and TTL of `IN IP4 GROUP[/TTL[/COUNT]]` or `IN IP6 GROUP[/COUNT]` (RFC 8866 §5.7); COUNT can only be 1.
fn connection(value: &str) -> Option<(IpAddr, Option<u8>)> {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    let ["IN", family @ ("IP4" | "IP6"), target] = words[..] else { return None };
    let mut parts = target.split('/');
    let group = address(family, parts.next()?)?;
    let ttl = match (group, parts.next()) {
        (IpAddr::V4(_), Some(ttl)) => Some(u8::try_from(number(ttl)?).ok()?),
        (IpAddr::V6(_), Some(count)) if count != "1" => return None,
        _ => None,
    };
    match (group, parts.next(), parts.next()) {
        (_, None, _) | (IpAddr::V4(_), Some("1"), None) => Some((group, ttl)),
        _ => None,
    }
}

/// Group (`None` for `*`) and source of ` incl IN IP4 GROUP SOURCE` (RFC 4570 §3).
fn source_filter(value: &str) -> Result<(Option<IpAddr>, IpAddr), LineProblem> {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    let (family, group, sources) = match words[..] {
        ["incl", "IN", family, group, ref sources @ ..] => (family, group, sources),
        ["excl", ..] => return Err(LineProblem::ExcludingFilter),
        _ => return Err(LineProblem::SourceFilter),
    };
    let source = match *sources {
        [source] => address(family, source).ok_or(LineProblem::SourceFilter)?,
        [] => return Err(LineProblem::SourceFilter),
        _ => return Err(LineProblem::ManySources),
    };
    match group {
        "*" => Ok((None, source)),
        _ => Ok((Some(address(family, group).ok_or(LineProblem::SourceFilter)?), source)),
    }
}

/// The source that the filters about `group` name; filters about other groups mean nothing.
fn only_source(filters: &[Filter], group: IpAddr) -> Result<Option<IpAddr>, SdpError> {
    let mut only = None;
    for filter in filters.iter().filter(|filter| filter.group.is_none_or(|about| about == group)) {
        if only.is_some_and(|source| source != filter.source) {
            return Err(SdpError::Line { line: filter.line, problem: LineProblem::ManySources });
        }
        only = Some(filter.source);
    }
    Ok(only)
}
