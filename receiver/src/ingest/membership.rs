//! Joining a channel: MCAST_JOIN_SOURCE_GROUP for (S,G), MCAST_JOIN_GROUP for any source (RFC 3678).

use super::interface::Interface;
use super::sockopt::{self, OptionValue};
use fleetcast_protocol::channel::Channel;
use libc::c_int;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;

/// The same number for IPv4 and IPv6 on Linux (linux/in.h); libc names only some of the family.
const MCAST_JOIN_GROUP: c_int = 42;
/// Bytes of `struct sockaddr_storage`.
const STORAGE_BYTES: usize = 128;

/// `struct sockaddr_storage` as bytes: family, port, then for IPv6 the flow label, then the address.
#[repr(C)]
#[cfg_attr(target_pointer_width = "64", repr(align(8)))]
#[cfg_attr(target_pointer_width = "32", repr(align(4)))]
#[derive(Clone, Copy)]
struct Storage([u8; STORAGE_BYTES]);

impl Storage {
    fn new(address: IpAddr) -> Self {
        let (family, offset) = match address {
            IpAddr::V4(_) => (libc::AF_INET, 4),
            IpAddr::V6(_) => (libc::AF_INET6, 8),
        };
        let mut bytes = [0; STORAGE_BYTES];
        // sa_family_t is 16 bits, in the host's byte order; the address is in the network's.
        bytes[..2].copy_from_slice(&u16::try_from(family).unwrap_or_default().to_ne_bytes());
        match address {
            IpAddr::V4(address) => bytes[offset..offset + 4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => bytes[offset..offset + 16].copy_from_slice(&address.octets()),
        }
        Self(bytes)
    }
}

/// `struct group_req` of RFC 3678, which libc does not define.
#[repr(C)]
#[derive(Clone, Copy)]
struct GroupRequest {
    interface_index: u32,
    /// sockaddr_storage is aligned like a long, here 8 bytes: the padding that C puts before it on 64-bit targets.
    #[cfg(target_pointer_width = "64")]
    padding: u32,
    group: Storage,
}

/// `struct group_source_req` of RFC 3678.
#[repr(C)]
#[derive(Clone, Copy)]
struct GroupSourceRequest {
    group: GroupRequest,
    source: Storage,
}

// SAFETY: the padding before the address is an explicit, initialised field, and Storage is initialised bytes.
unsafe impl OptionValue for GroupRequest {}
// SAFETY: as for GroupRequest; its size is a multiple of its alignment, so there is no padding between the fields.
unsafe impl OptionValue for GroupSourceRequest {}

/// `struct ip_mreq` of ip(7): without the interface's index.
#[repr(C)]
#[derive(Clone, Copy)]
struct OldRequest {
    group: [u8; 4],
    interface: [u8; 4],
}

/// `struct ip_mreq_source` of ip(7).
#[repr(C)]
#[derive(Clone, Copy)]
struct OldSourceRequest {
    group: [u8; 4],
    interface: [u8; 4],
    source: [u8; 4],
}

// SAFETY: bytes without padding.
unsafe impl OptionValue for OldRequest {}
// SAFETY: bytes without padding.
unsafe impl OptionValue for OldSourceRequest {}

/// How a channel was joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// By the requests of RFC 3678.
    ByIndex,
    /// By those before them, which know IPv4 only and name the interface by its address: user-mode emulators have no others.
    ByAddress,
}

/// Joins `channel` on `interface`.
pub fn join(fd: BorrowedFd<'_>, channel: &Channel, interface: &Interface) -> io::Result<Join> {
    match (join_by_index(fd, channel, interface.index), channel.group, interface.ipv4) {
        (Ok(()), ..) => Ok(Join::ByIndex),
        (Err(error), IpAddr::V4(group), Some(address)) if is_unsupported(&error) => {
            join_by_address(fd, group, channel.source, address).map(|()| Join::ByAddress)
        }
        (Err(error), ..) => Err(error),
    }
}

/// Whether the kernel, or what stands between it and us, does not know the option.
pub fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOPROTOOPT | libc::EOPNOTSUPP | libc::ENOSYS))
}

fn join_by_index(fd: BorrowedFd<'_>, channel: &Channel, interface_index: u32) -> io::Result<()> {
    let level = match channel.group {
        IpAddr::V4(_) => libc::IPPROTO_IP,
        IpAddr::V6(_) => libc::IPPROTO_IPV6,
    };
    let group = GroupRequest {
        interface_index,
        #[cfg(target_pointer_width = "64")]
        padding: 0,
        group: Storage::new(channel.group),
    };
    match channel.source {
        Some(source) => {
            let request = GroupSourceRequest { group, source: Storage::new(source) };
            sockopt::set(fd, level, libc::MCAST_JOIN_SOURCE_GROUP, &request)
        }
        None => sockopt::set(fd, level, MCAST_JOIN_GROUP, &group),
    }
}

fn join_by_address(fd: BorrowedFd<'_>, group: Ipv4Addr, source: Option<IpAddr>, interface: Ipv4Addr) -> io::Result<()> {
    let (group, interface) = (group.octets(), interface.octets());
    match source {
        Some(IpAddr::V4(source)) => {
            let request = OldSourceRequest { group, interface, source: source.octets() };
            sockopt::set(fd, libc::IPPROTO_IP, libc::IP_ADD_SOURCE_MEMBERSHIP, &request)
        }
        Some(IpAddr::V6(_)) => Err(io::ErrorKind::InvalidInput.into()),
        None => sockopt::set(fd, libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, &OldRequest { group, interface }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd as _;
    use std::time::Duration;

    /// What an emulator makes of our requests is the same membership: the group's own packets arrive, from the source only.
    #[test]
    fn the_old_requests_join_the_same_channel() {
        let group = Ipv4Addr::new(232, 9, 9, 9);
        for (source, arrives) in [(Ipv4Addr::LOCALHOST, true), (Ipv4Addr::new(127, 0, 0, 9), false)] {
            let receiver = UdpSocket::bind((group, 0)).unwrap();
            let patience = Duration::from_millis(if arrives { 5_000 } else { 100 });
            receiver.set_read_timeout(Some(patience)).unwrap();
            let port = receiver.local_addr().unwrap().port();
            join_by_address(receiver.as_fd(), group, Some(source.into()), Ipv4Addr::LOCALHOST).unwrap();
            let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket2::SockRef::from(&sender).set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
            sender.send_to(b"packet", (group, port)).unwrap();
            assert_eq!(receiver.recv(&mut [0; 16]).is_ok(), arrives, "{source}");
        }
    }
}
