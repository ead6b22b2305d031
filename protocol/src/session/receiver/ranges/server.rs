//! The web servers that hold the image: which are known, which have failed, and which have lied.

use crate::announcement::is_repair_url;
use crate::random::Random;
use std::net::IpAddr;
use std::time::Duration;

/// Servers that are known at most, configured and announced ones together.
pub const MAX_SERVERS: usize = 16;
/// A server that failed is left alone for this long, and twice as long after each failure in a row.
const FIRST_REST: Duration = Duration::from_secs(5);
/// Failures in a row after which the rest grows no longer: to about five minutes.
const MAX_DOUBLINGS: u32 = 6;

/// Which announced URLs count. The announcement is not signed: whoever forges it would choose whom a whole fleet asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnnouncedUrls {
    /// None.
    Ignored,
    /// Those whose host is one of these addresses: the channel's sources.
    OfSources(Vec<IpAddr>),
    /// Any.
    Any,
}

impl AnnouncedUrls {
    fn admits(&self, url: &str) -> bool {
        match self {
            Self::Ignored => false,
            Self::OfSources(sources) => {
                host_of(url).and_then(|host| host.parse().ok()).is_some_and(|host| sources.contains(&host))
            }
            Self::Any => true,
        }
    }
}

/// The host of a URL, an IPv6 address without its brackets; `None` when there is anything before the host.
fn host_of(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let authority = rest.split(['/', '?', '#']).next()?;
    if authority.contains(['@', '\\']) {
        return None;
    }
    match authority.strip_prefix('[') {
        Some(bracketed) => Some(bracketed.split_once(']')?.0),
        None => authority.split(':').next(),
    }
}

/// The URL of the image called `name`: `url` itself, or when it ends with a slash the file of that name in it.
pub fn image_url(url: &str, name: &str) -> String {
    let mut full = url.to_owned();
    if url.ends_with('/') {
        for byte in name.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => full.push(char::from(byte)),
                _ => full.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    full
}

#[derive(Debug)]
struct Server {
    url: String,
    failures: u32,
    /// Left alone until then.
    rests_until: Duration,
    /// Blocks that were right only without its symbols.
    suspicions: u32,
    /// A block with symbols of it was right.
    is_proven: bool,
    lied: bool,
}

/// The servers that are known, in the order in which they are asked.
#[derive(Debug, Default)]
pub struct Servers(Vec<Server>);

impl Servers {
    /// Adds a server, unless it is known, wants TLS, which receivers do not speak, or there are too many.
    pub fn add(&mut self, url: &str) {
        if is_repair_url(url)
            && url.starts_with("http://")
            && self.0.len() < MAX_SERVERS
            && self.0.iter().all(|server| server.url != url)
        {
            self.0.push(Server {
                url: url.to_owned(),
                failures: 0,
                rests_until: Duration::ZERO,
                suspicions: 0,
                is_proven: false,
                lied: false,
            });
        }
    }

    /// Adds what was announced, as far as `admitted` allows.
    pub fn announced(&mut self, urls: &[String], admitted: &AnnouncedUrls) {
        urls.iter().filter(|url| admitted.admits(url)).for_each(|url| self.add(url));
    }

    /// The URL of server `index`.
    pub fn url(&self, index: usize) -> &str {
        self.0.get(index).map_or("", |server| &server.url)
    }

    /// Whether any has not lied.
    pub fn any_trusted(&self) -> bool {
        self.0.iter().any(|server| !server.lied)
    }

    /// When the first may be asked; `None` when there is none to ask.
    pub fn next_at(&self) -> Option<Duration> {
        self.0.iter().filter(|server| !server.lied).map(|server| server.rests_until).min()
    }

    /// The first that may be asked at `now`, rather one that is none of `suspects` and not suspected elsewhere.
    pub fn choose(&self, now: Duration, suspects: &[usize]) -> Option<usize> {
        let ready = |(_, server): &(usize, &Server)| !server.lied && server.rests_until <= now;
        let mut choice: Vec<usize> = self.0.iter().enumerate().filter(ready).map(|(index, _)| index).collect();
        choice.sort_by_key(|index| (suspects.contains(index), self.0[*index].suspicions));
        choice.first().copied()
    }

    /// Whether any that has not lied is none of `suspects`.
    pub fn any_beside(&self, suspects: &[usize]) -> bool {
        self.0.iter().enumerate().any(|(index, server)| !server.lied && !suspects.contains(&index))
    }

    /// Server `index` gave what was asked for.
    pub fn succeeded(&mut self, index: usize) {
        if let Some(server) = self.0.get_mut(index) {
            server.failures = 0;
        }
    }

    /// A block with symbols of server `index` is right.
    pub fn proved(&mut self, index: usize) {
        if let Some(server) = self.0.get_mut(index) {
            server.is_proven = true;
        }
    }

    /// Whether a block with symbols of server `index` was right.
    pub fn is_proven(&self, index: usize) -> bool {
        self.0.get(index).is_some_and(|server| server.is_proven)
    }

    /// Server `index` failed: it is left alone for a while, longer each time, and not by all receivers equally long.
    pub fn failed(&mut self, index: usize, now: Duration, random: &mut Random) {
        if let Some(server) = self.0.get_mut(index) {
            let rest = FIRST_REST * (1 << server.failures.min(MAX_DOUBLINGS));
            server.failures = server.failures.saturating_add(1);
            server.rests_until = now + rest + random.time_below(rest / 2);
        }
    }

    /// Server `index` seems to have given wrong bytes: others are asked before it. False when it seemed so before.
    pub fn suspected(&mut self, index: usize) -> bool {
        let Some(server) = self.0.get_mut(index) else { return false };
        server.suspicions = server.suspicions.saturating_add(1);
        server.suspicions == 1
    }

    /// Server `index` gave wrong bytes: it is asked no more. False when that was known.
    pub fn lied(&mut self, index: usize) -> bool {
        self.0.get_mut(index).is_some_and(|server| !std::mem::replace(&mut server.lied, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_source_s_own_url_counts_unless_any_does() {
        let source = |text: &str| AnnouncedUrls::OfSources(vec![text.parse().unwrap()]);
        for (url, admitted, counts) in [
            ("http://10.77.0.1/fw", source("10.77.0.1"), true),
            ("http://10.77.0.1:8080/fw", source("10.77.0.1"), true),
            ("http://[fd77::1]:8080/fw", source("fd77::1"), true),
            ("http://10.77.0.2/fw", source("10.77.0.1"), false),
            ("http://10.77.0.1@victim/", source("10.77.0.1"), false),
            ("http://10.77.0.1.victim/", source("10.77.0.1"), false),
            ("http://victim/10.77.0.1/", source("10.77.0.1"), false),
            ("http://victim?10.77.0.1/", source("10.77.0.1"), false),
            ("http://10.77.0.1\\@victim/", source("10.77.0.1"), false),
            ("http://cdn.example/", AnnouncedUrls::Any, true),
            ("https://cdn.example/", AnnouncedUrls::Any, false),
            ("http://10.77.0.1/fw", AnnouncedUrls::Ignored, false),
        ] {
            let mut servers = Servers::default();
            servers.announced(&[url.to_owned()], &admitted);
            assert_eq!(servers.any_trusted(), counts, "{url}");
        }
    }

    #[test]
    fn a_folder_gets_the_image_s_name() {
        assert_eq!(image_url("http://cdn/fw.bin", "other"), "http://cdn/fw.bin");
        assert_eq!(image_url("http://cdn/fw/", "a b/../ü"), "http://cdn/fw/a%20b%2F..%2F%C3%BC");
    }

    #[test]
    fn the_next_is_asked_when_one_fails_and_none_that_lied() {
        let (mut servers, mut random) = (Servers::default(), Random::new(1));
        ["http://a/", "http://b/", "http://a/", "gopher://c/"].into_iter().for_each(|url| servers.add(url));
        let at = Duration::from_secs;
        assert_eq!(servers.choose(at(0), &[]), Some(0));
        assert_eq!(servers.choose(at(0), &[0]), Some(1));
        servers.failed(0, at(0), &mut random);
        assert_eq!(servers.choose(at(1), &[1]), Some(1), "a suspect is better than none");
        assert!(servers.lied(1) && !servers.lied(1));
        assert_eq!(servers.choose(at(1), &[]), None);
        let rest = servers.next_at().unwrap();
        assert!((at(5)..at(8)).contains(&rest), "{rest:?}");
        assert_eq!(servers.choose(rest, &[]), Some(0));
        (0..40).for_each(|_| servers.failed(0, at(0), &mut random));
        assert!(servers.next_at().unwrap() <= at(480));
        assert!(servers.any_trusted() && !servers.any_beside(&[0]));
        servers.lied(0);
        assert_eq!((servers.any_trusted(), servers.next_at()), (false, None));
    }

    #[test]
    fn they_are_bounded() {
        let mut servers = Servers::default();
        (0..100).for_each(|n| servers.add(&format!("http://host{n}/")));
        assert_eq!(servers.0.len(), MAX_SERVERS);
    }
}
