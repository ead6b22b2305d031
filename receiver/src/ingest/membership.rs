//! Joining a channel: MCAST_JOIN_SOURCE_GROUP for (S,G), MCAST_JOIN_GROUP for any source (RFC 3678).

use super::sockopt::{self, OptionValue};
use fleetcast_protocol::channel::Channel;
use libc::c_int;
use std::io;
use std::net::IpAddr;
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

/// Joins `channel` on the interface with this index.
pub fn join(fd: BorrowedFd<'_>, channel: &Channel, interface_index: u32) -> io::Result<()> {
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
