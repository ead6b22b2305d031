//! What the kernel says of an interface, by getifaddrs: whether multicast can be received there.

use super::SocketError;
use rustix::net::netdevice::name_to_index;
use std::ffi::{CStr, c_int};
use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::ptr;

/// An interface that is up and does multicast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Name, such as `eth0`.
    pub name: String,
    /// Index, which the kernel's requests use.
    pub index: u32,
    /// Its first IPv4 address, by which old requests name it.
    pub ipv4: Option<Ipv4Addr>,
    has_ipv6: bool,
}

impl Interface {
    /// Looks an interface up by name.
    pub fn by_name(name: &str) -> Result<Self, SocketError> {
        let index = match name_to_index_of(name) {
            Ok(index) => index,
            Err(source) => return Err(SocketError::NoInterface { name: name.to_owned(), source }),
        };
        let entries: Vec<Entry> = entries()?.into_iter().filter(|entry| entry.name == name).collect();
        let flags = entries.iter().fold(0, |flags, entry| flags | entry.flags);
        if flags & libc::IFF_UP == 0 {
            return Err(SocketError::Down(name.to_owned()));
        }
        // The loopback has no multicast flag, and does it.
        if flags & (libc::IFF_MULTICAST | libc::IFF_LOOPBACK) == 0 {
            return Err(SocketError::NoMulticast(name.to_owned()));
        }
        let ipv4 = entries.iter().find_map(|entry| entry.ipv4);
        let has_ipv6 = entries.iter().any(|entry| entry.family == Some(libc::AF_INET6));
        Ok(Self { name: name.to_owned(), index, ipv4, has_ipv6 })
    }

    /// Refuses an interface without an address of the group's family, from which it would report its membership.
    pub fn check_address(&self, group: IpAddr) -> Result<(), SocketError> {
        let (has, family) = match group {
            IpAddr::V4(_) => (self.ipv4.is_some(), "IPv4"),
            IpAddr::V6(_) => (self.has_ipv6, "IPv6"),
        };
        if has { Ok(()) } else { Err(SocketError::NoAddress { name: self.name.clone(), family }) }
    }
}

fn name_to_index_of(name: &str) -> io::Result<u32> {
    let any_socket = UdpSocket::bind("0.0.0.0:0").or_else(|_| UdpSocket::bind("[::]:0"))?;
    Ok(name_to_index(any_socket.as_fd(), name)?)
}

/// One line of getifaddrs: an interface has one for each address, and one of family AF_PACKET.
#[derive(Debug)]
struct Entry {
    name: String,
    flags: c_int,
    family: Option<c_int>,
    ipv4: Option<Ipv4Addr>,
}

fn entries() -> io::Result<Vec<Entry>> {
    let mut first = ptr::null_mut();
    // SAFETY: getifaddrs stores the head of a list, or fails and stores nothing that is used.
    if unsafe { libc::getifaddrs(&mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut entries = Vec::new();
    let mut next = first;
    // SAFETY: getifaddrs gave the list; as_ref checks each link for its end, and nothing is kept of it.
    while let Some(line) = unsafe { next.as_ref() } {
        // SAFETY: the name is a C string as long as the list lives, until freeifaddrs below.
        let name = unsafe { CStr::from_ptr(line.ifa_name) }.to_string_lossy().into_owned();
        // SAFETY: an address is a sockaddr with at least its family, or null.
        let family = unsafe { line.ifa_addr.as_ref() }.map(|address| c_int::from(address.sa_family));
        let ipv4 = (family == Some(libc::AF_INET)).then(|| {
            // SAFETY: an address of this family is a sockaddr_in; it lives as long as the list, and need not be aligned.
            let address = unsafe { line.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned() };
            Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr))
        });
        // Flags are bits: the sign has no meaning.
        entries.push(Entry { name, flags: c_int::from_ne_bytes(line.ifa_flags.to_ne_bytes()), family, ipv4 });
        next = line.ifa_next;
    }
    // SAFETY: the list came from getifaddrs, is freed once, and not used again.
    unsafe { libc::freeifaddrs(first) };
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_loopback() {
        let lo = Interface::by_name("lo").unwrap();
        assert_eq!((lo.index, lo.ipv4), (1, Some(Ipv4Addr::LOCALHOST)));
        lo.check_address("239.1.1.1".parse().unwrap()).unwrap();
        let no_ipv6 = Interface { has_ipv6: false, ..lo };
        let error = no_ipv6.check_address("ff3e::8000:1".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("no IPv6 address"), "{error}");
    }

    #[test]
    fn says_that_there_is_no_such_interface() {
        let error = Interface::by_name("no-such-0").unwrap_err().to_string();
        assert!(error.contains("no-such-0") && error.contains("ip link"), "{error}");
    }
}
