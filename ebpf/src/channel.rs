//! What is guarded, and how it stands in the program's maps.

use crate::error::FilterError;
use std::net::IpAddr;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// Flag of a guard: the group has several channels.
const MORE: u16 = 1;
/// Flag of a guard: other ports of the group are dropped.
const EXCLUSIVE: u16 = 2;

/// Bytes of `struct guard_v4`, `struct guard_v6` and `struct channel`.
pub(crate) const GUARD_V4_BYTES: usize = 8;
pub(crate) const GUARD_V6_BYTES: usize = 24;
pub(crate) const CHANNEL_BYTES: usize = 40;
/// Bytes of `struct holder`.
pub(crate) const HOLDER_BYTES: usize = 16;

/// Who may send to a UDP port of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel {
    source: IpAddr,
    group: IpAddr,
    port: u16,
}

impl Channel {
    /// The channel of this source.
    ///
    /// # Errors
    /// When the group is no multicast address, or the source is one or of the other family.
    pub fn new(source: IpAddr, group: IpAddr, port: u16) -> Result<Self, FilterError> {
        let fits = source.is_ipv4() == group.is_ipv4() && group.is_multicast() && !source.is_multicast();
        if !fits || source.is_unspecified() {
            return Err(FilterError::NoChannel { source_address: source, group });
        }
        Ok(Self { source, group, port })
    }

    /// The only address that may send.
    pub fn source(&self) -> IpAddr {
        self.source
    }

    /// The group.
    pub fn group(&self) -> IpAddr {
        self.group
    }

    /// The UDP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `struct channel`.
    pub(crate) fn key(&self) -> [u8; CHANNEL_BYTES] {
        let mut key = self.port_key();
        write_address(&mut key[24..], self.source);
        key
    }

    /// `struct channel` that says that the port is guarded.
    pub(crate) fn port_key(&self) -> [u8; CHANNEL_BYTES] {
        let mut key = [0; CHANNEL_BYTES];
        let family = if self.group.is_ipv4() { AF_INET } else { AF_INET6 };
        key[..2].copy_from_slice(&family.to_ne_bytes());
        key[2..4].copy_from_slice(&self.port.to_be_bytes());
        write_address(&mut key[8..24], self.group);
        key
    }

    /// What [`Channel::key`] has written; `None` for anything else.
    pub(crate) fn from_key(key: &[u8; CHANNEL_BYTES]) -> Option<Self> {
        let family = u16::from_ne_bytes([key[0], key[1]]);
        let (group, source) = (read_address(family, &key[8..24])?, read_address(family, &key[24..])?);
        Self::new(source, group, u16::from_be_bytes([key[2], key[3]])).ok()
    }
}

/// Who holds a channel, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// Seconds of the clock that counts from boot; [`u64::MAX`] for the process that has attached the program.
    pub(crate) until_s: u64,
    /// The process, by its own number: in another container, it is another here.
    pub pid: u32,
}

impl Holder {
    /// The process `pid`, which has attached the program.
    pub fn owner(pid: u32) -> Self {
        Self { until_s: u64::MAX, pid }
    }

    /// Whether the process has attached the program itself.
    pub fn is_owner(&self) -> bool {
        self.until_s == u64::MAX
    }

    /// `struct holder`.
    pub(crate) fn bytes(self) -> [u8; HOLDER_BYTES] {
        let mut bytes = [0; HOLDER_BYTES];
        bytes[..8].copy_from_slice(&self.until_s.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.pid.to_ne_bytes());
        bytes
    }

    /// What [`Holder::bytes`] has written.
    pub(crate) fn read(bytes: [u8; HOLDER_BYTES]) -> Self {
        let [u0, u1, u2, u3, u4, u5, u6, u7, p0, p1, p2, p3, ..] = bytes;
        let until_s = u64::from_ne_bytes([u0, u1, u2, u3, u4, u5, u6, u7]);
        Self { until_s, pid: u32::from_ne_bytes([p0, p1, p2, p3]) }
    }
}

/// What stands at a group in the program's maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guard {
    pub(crate) first: Channel,
    pub(crate) more: bool,
    pub(crate) exclusive: bool,
}

impl Guard {
    fn flags(&self) -> [u8; 2] {
        (if self.more { MORE } else { 0 } | if self.exclusive { EXCLUSIVE } else { 0 }).to_ne_bytes()
    }

    /// `struct guard_v4` or `struct guard_v6`, by its length.
    pub(crate) fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        bytes[..2].copy_from_slice(&self.first.port.to_be_bytes());
        bytes[2..4].copy_from_slice(&self.flags());
        let at = if self.first.source.is_ipv4() { 4 } else { 8 };
        write_address(&mut bytes[at..], self.first.source);
        bytes
    }

    /// Reads what [`Guard::bytes`] has written for a group.
    pub(crate) fn read(group: IpAddr, bytes: &[u8]) -> Option<Self> {
        let (family, at) = if group.is_ipv4() { (AF_INET, 4) } else { (AF_INET6, 8) };
        let source = read_address(family, bytes.get(at..)?)?;
        let first = Channel::new(source, group, u16::from_be_bytes([bytes[0], bytes[1]])).ok()?;
        let flags = u16::from_ne_bytes([bytes[2], bytes[3]]);
        Some(Self { first, more: flags & MORE != 0, exclusive: flags & EXCLUSIVE != 0 })
    }
}

fn write_address(bytes: &mut [u8], address: IpAddr) {
    match address {
        IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes[..16].copy_from_slice(&address.octets()),
    }
}

/// An address of this family at the start of `bytes`.
pub(crate) fn read_address(family: u16, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => Some(IpAddr::from(*bytes.first_chunk::<4>()?)),
        AF_INET6 => Some(IpAddr::from(*bytes.first_chunk::<16>()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_channel() -> impl Strategy<Value = Channel> {
        let v4 = (1..224_u8, any::<[u8; 3]>(), 224..240_u8, any::<[u8; 3]>(), any::<u16>()).prop_map(
            |(s, [a, b, c], g, [d, e, f], port)| {
                Channel::new(IpAddr::from([s, a, b, c]), IpAddr::from([g, d, e, f]), port).unwrap()
            },
        );
        let v6 = (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<u16>()).prop_map(|(mut source, mut group, port)| {
            (source[0], group[0]) = (0x20, 0xff);
            Channel::new(IpAddr::from(source), IpAddr::from(group), port).unwrap()
        });
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(channel in any_channel(), more: bool, exclusive: bool) {
            prop_assert_eq!(Channel::from_key(&channel.key()), Some(channel));
            prop_assert_eq!(Channel::from_key(&channel.port_key()), None);
            let guard = Guard { first: channel, more, exclusive };
            let read = if channel.group().is_ipv4() {
                Guard::read(channel.group(), &guard.bytes::<GUARD_V4_BYTES>())
            } else {
                Guard::read(channel.group(), &guard.bytes::<GUARD_V6_BYTES>())
            };
            prop_assert_eq!(read, Some(guard));
        }

        #[test]
        fn a_holder_is_read(until_s: u64, pid: u32) {
            let holder = Holder { until_s, pid };
            prop_assert_eq!(Holder::read(holder.bytes()), holder);
        }
    }

    #[test]
    fn refuses_what_cannot_be_a_channel() {
        for (source, group) in [
            ("10.0.0.1", "10.0.0.2"),
            ("232.1.1.1", "232.1.1.1"),
            ("fd77::1", "232.1.1.1"),
            ("10.0.0.1", "ff3e::8000:1"),
            ("0.0.0.0", "232.1.1.1"),
        ] {
            let error = Channel::new(source.parse().unwrap(), group.parse().unwrap(), 5000).unwrap_err();
            assert!(error.to_string().contains(group), "{error}");
        }
    }
}
