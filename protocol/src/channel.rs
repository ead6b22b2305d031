//! The multicast channel (S,G): where a session is sent to and who may send it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

/// First group id of IPv6 SSM that hosts may choose (RFC 4607 §1: below are reserved and permanent ids).
const FIRST_DYNAMIC_GROUP_ID: u32 = 0x8000_0000;

/// Why source, group and port are no channel.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChannelError {
    /// Not a multicast address.
    #[error("{0} is not a multicast group; use one of 232.0.1.0 to 232.255.255.255 or ff3e::8000:0 and up")]
    NotMulticast(IpAddr),
    /// 232.0.0.0/24 (RFC 4607 §1) or an IPv6 SSM group that hosts may not choose.
    #[error("group {0} is reserved; use one of 232.0.1.0 to 232.255.255.255 or ff3e::8000:0 to ff3e::ffff:ffff")]
    ReservedGroup(IpAddr),
    /// 224.0.0.0/24 or an IPv6 group of reserved, interface-local or link-local well-known use: not for content.
    #[error("group {0} belongs to the control protocols of the local network; use one of 232.0.1.0 to 232.255.255.255")]
    LocalControl(IpAddr),
    /// A source-specific group without a source.
    #[error("group {0} is source-specific; name the sender's address as the source")]
    SourceNeeded(IpAddr),
    /// The source is not the address of a host.
    #[error("source {0} is not a unicast address; name the address that the sender sends from")]
    SourceNotUnicast(IpAddr),
    /// IPv4 and IPv6 mixed.
    #[error("source {source_address} and group {group} are of different IP versions; use two of the same")]
    Families {
        /// The source.
        source_address: IpAddr,
        /// The group.
        group: IpAddr,
    },
    /// UDP port 0.
    #[error("port 0 cannot be received; choose one from 1 to 65535")]
    PortZero,
}

/// A checked channel. Two sessions on one channel are told apart by their TSI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Channel {
    /// The only sender to be received (SSM, RFC 4607), or `None` for any source.
    pub source: Option<IpAddr>,
    /// Multicast group.
    pub group: IpAddr,
    /// UDP destination port.
    pub port: u16,
}

impl Channel {
    /// Checks that the three make a channel which a host may use and a receiver can join.
    pub fn new(source: Option<IpAddr>, group: IpAddr, port: u16) -> Result<Self, ChannelError> {
        if Self::check_destination(group, port)? && source.is_none() {
            return Err(ChannelError::SourceNeeded(group));
        }
        if let Some(source_address) = source {
            if source_address.is_ipv4() != group.is_ipv4() {
                return Err(ChannelError::Families { source_address, group });
            }
            if !is_unicast(source_address) {
                return Err(ChannelError::SourceNotUnicast(source_address));
            }
        }
        Ok(Self { source, group, port })
    }

    /// Checks the half that a sender is told before it knows its own address: whether the group is source-specific.
    pub fn check_destination(group: IpAddr, port: u16) -> Result<bool, ChannelError> {
        let source_specific = match group {
            IpAddr::V4(v4) => check_v4_group(v4)?,
            IpAddr::V6(v6) => check_v6_group(v6)?,
        };
        if port == 0 { Err(ChannelError::PortZero) } else { Ok(source_specific) }
    }
}

/// `(S,G):port`, with `*` for any source.
impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            Some(source) => write!(f, "({source},{}):{}", self.group, self.port),
            None => write!(f, "(*,{}):{}", self.group, self.port),
        }
    }
}

/// Whether a usable group is source-specific: 232/8 (RFC 4607 §1).
fn check_v4_group(group: Ipv4Addr) -> Result<bool, ChannelError> {
    match group.octets() {
        [224, 0, 0, _] => Err(ChannelError::LocalControl(group.into())),
        [232, 0, 0, _] => Err(ChannelError::ReservedGroup(group.into())),
        [232, ..] => Ok(true),
        _ if group.is_multicast() => Ok(false),
        _ => Err(ChannelError::NotMulticast(group.into())),
    }
}

/// Whether a usable group is source-specific: ff3x::/32, of which only ff3x::/96 is allocated (RFC 4607 §1).
fn check_v6_group(group: Ipv6Addr) -> Result<bool, ChannelError> {
    if !group.is_multicast() {
        return Err(ChannelError::NotMulticast(group.into()));
    }
    let [first, second, middle @ .., id_high, id_low] = group.segments();
    let flags = first >> 4 & 0xf;
    let group_id = u32::from(id_high) << 16 | u32::from(id_low);
    if flags == 0x3 && second == 0 {
        let allocated = middle == [0; 4] && group_id >= FIRST_DYNAMIC_GROUP_ID;
        return if allocated { Ok(true) } else { Err(ChannelError::ReservedGroup(group.into())) };
    }
    // Permanently assigned groups (flags 0) up to link-local scope: ff02::1 all nodes, ff02::16 MLD, ...
    if flags == 0 && first & 0xf <= 2 {
        return Err(ChannelError::LocalControl(group.into()));
    }
    Ok(false)
}

/// An address that a host can send from (loopback and link-local included).
fn is_unicast(address: IpAddr) -> bool {
    match address {
        // 0/8 is "this network", 224/4 multicast, 240/4 reserved with the broadcast address.
        IpAddr::V4(v4) => (1..=223).contains(&v4.octets()[0]),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast() && v6.to_ipv4_mapped().is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn channel(source: &str, group: &str, port: u16) -> Result<Channel, ChannelError> {
        let source = (!source.is_empty()).then(|| source.parse().unwrap());
        Channel::new(source, group.parse().unwrap(), port)
    }

    #[test]
    fn takes_source_specific_and_any_source_channels() {
        for (source, group) in [
            ("10.0.0.1", "232.1.1.1"),
            ("127.0.0.1", "232.0.1.0"),
            ("10.0.0.1", "232.255.255.255"),
            ("10.0.0.1", "239.1.1.1"),
            ("", "239.1.1.1"),
            ("", "224.0.1.0"),
            ("2001:db8::1", "ff3e::8000:0"),
            ("fe80::1", "ff32::ffff:ffff"),
            ("2001:db8::1", "ff15::1"),
            ("", "ff15::1"),
            ("", "ff05::1234"),
            ("", "ff3e:30:2001:db8::1"), // unicast-prefix-based (RFC 3306), not SSM
        ] {
            let made = channel(source, group, 5000).unwrap();
            assert_eq!((made.source.is_some(), made.port), (!source.is_empty(), 5000), "{group}");
        }
    }

    #[test]
    fn refuses_what_cannot_be_a_channel() {
        use ChannelError as E;
        let any: IpAddr = Ipv4Addr::UNSPECIFIED.into();
        let expect = |wanted: ChannelError, cases: &[(&str, &str)]| {
            for (source, group) in cases {
                let refused = channel(source, group, 5000).unwrap_err();
                assert_eq!(std::mem::discriminant(&refused), std::mem::discriminant(&wanted), "{source} {group}");
            }
        };
        expect(
            E::NotMulticast(any),
            &[("10.0.0.1", "10.0.0.2"), ("", "240.0.0.1"), ("", "2001:db8::1"), ("", "0.0.0.0")],
        );
        expect(E::ReservedGroup(any), &[("10.0.0.1", "232.0.0.0"), ("10.0.0.1", "232.0.0.255"), ("", "232.0.0.1")]);
        expect(
            E::ReservedGroup(any),
            &[("2001:db8::1", "ff3e::7fff:ffff"), ("2001:db8::1", "ff3e::1:8000:0"), ("", "ff3e::1")],
        );
        expect(E::ReservedGroup(any), &[("2001:db8::1", "ff3e:0:1::8000:0")]);
        expect(
            E::LocalControl(any),
            &[("10.0.0.1", "224.0.0.1"), ("", "224.0.0.251"), ("", "ff02::1"), ("", "ff01::2")],
        );
        expect(E::SourceNeeded(any), &[("", "232.1.1.1"), ("", "ff3e::8000:1")]);
        expect(
            E::Families { source_address: any, group: any },
            &[("10.0.0.1", "ff3e::8000:1"), ("2001:db8::1", "232.1.1.1")],
        );
        expect(
            E::SourceNotUnicast(any),
            &[
                ("0.0.0.0", "232.1.1.1"),
                ("0.1.2.3", "232.1.1.1"),
                ("255.255.255.255", "232.1.1.1"),
                ("232.1.1.2", "232.1.1.1"),
                ("250.0.0.1", "239.1.1.1"),
                ("::", "ff3e::8000:1"),
                ("ff02::1", "ff3e::8000:1"),
                ("::ffff:10.0.0.1", "ff3e::8000:1"),
            ],
        );
        assert_eq!(channel("10.0.0.1", "232.1.1.1", 0), Err(E::PortZero));
    }

    #[test]
    fn shows_itself_as_s_g() {
        assert_eq!(channel("10.0.0.1", "232.1.1.1", 5000).unwrap().to_string(), "(10.0.0.1,232.1.1.1):5000");
        assert_eq!(channel("", "239.1.1.1", 7).unwrap().to_string(), "(*,239.1.1.1):7");
    }

    proptest! {
        #[test]
        fn every_channel_is_one_that_a_receiver_can_join(source: Option<IpAddr>, group: IpAddr, port: u16) {
            if let Ok(made) = Channel::new(source, group, port) {
                prop_assert!(made.group.is_multicast() && made.port != 0);
                prop_assert!(made.source.is_none_or(|s| s.is_ipv4() == group.is_ipv4() && !s.is_multicast()));
            }
        }
    }
}
