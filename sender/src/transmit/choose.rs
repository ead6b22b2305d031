//! Which backend sends: the one that was asked for, or with `auto` the one that pays here, after it has really sent.
//!
//! A probe sends two packets to the group on the discard port, with a TTL of 0: they take the whole way through the kernel and
//! the device, no router forwards them, and a receiver's kernel drops them, as nobody listens there.

use super::{
    Backend, Mmsg, SlotShape, SocketError, SocketOptions, Transmit, Uring, UringError, Xdp, XdpError, XdpOptions, open,
};
use crate::interface::Interface;
use std::collections::VecDeque;
use std::io;
use std::net::UdpSocket;
use std::str::FromStr;
use thiserror::Error;

/// RFC 863, and what is used when the session has that port.
const DISCARD_PORTS: [u16; 2] = [9, 19];
/// Bytes of a probe's packets.
const PROBE_PACKET: usize = 64;

/// What `--backend` says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BackendKind {
    /// What pays here.
    #[default]
    Auto,
    /// sendmmsg.
    Mmsg,
    /// io_uring.
    Uring,
    /// AF_XDP.
    Xdp,
}

impl FromStr for BackendKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "mmsg" => Ok(Self::Mmsg),
            "uring" => Ok(Self::Uring),
            "xdp" => Ok(Self::Xdp),
            _ => Err(format!("there is no backend '{text}'; choose auto, mmsg, uring or xdp")),
        }
    }
}

/// Why there is no backend.
#[derive(Debug, Error)]
pub enum ChooseError {
    /// No socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// No io_uring.
    #[error(transparent)]
    Uring(#[from] UringError),
    /// No AF_XDP.
    #[error(transparent)]
    Xdp(#[from] XdpError),
    /// There is no randomness for the first IP id.
    #[error("cannot get randomness for the first IP id: {0}")]
    Random(String),
    /// It was set up, and cannot send.
    #[error("backend {backend} cannot send here: {error}; choose another one with --backend")]
    Probe {
        /// Its name.
        backend: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}

/// A backend, and why it is this one.
pub struct Choice {
    /// The backend, not started.
    pub backend: Box<dyn Backend>,
    /// For people.
    pub why: String,
}

/// Where to send, and with how many threads.
#[derive(Debug, Clone, Copy)]
pub struct Egress<'e> {
    /// Addresses and options of the sockets.
    pub options: &'e SocketOptions,
    /// The interface.
    pub interface: &'e Interface,
    /// Sending threads.
    pub threads: usize,
    /// UDP payload of the largest packets, in bytes.
    pub largest_packet: usize,
    /// With AF_XDP: VLAN to tag frames with, beside that of the interface.
    pub vlan_id: Option<u16>,
    /// Whether the slots should lie in huge pages.
    pub huge_pages: bool,
}

impl Egress<'_> {
    /// Sockets with these options, one a sending thread.
    fn sockets(&self, options: &SocketOptions) -> Result<Vec<UdpSocket>, SocketError> {
        (0..self.threads.max(1)).map(|_| open(options, self.interface)).collect()
    }

    /// The backend of this kind, not probed; `auto` is no kind.
    fn make(&self, kind: BackendKind, options: &SocketOptions) -> Result<Box<dyn Backend>, ChooseError> {
        let most = self.interface.max_super_packet_bytes(options.group);
        let sockets = || self.sockets(options);
        Ok(match kind {
            BackendKind::Xdp => Box::new(self.xdp(options)?),
            BackendKind::Uring => {
                Box::new(Uring::new(sockets()?, most, self.huge_pages, self.interface.is_hardware())?)
            }
            BackendKind::Mmsg | BackendKind::Auto => Box::new(Mmsg::new(sockets()?, most, self.huge_pages)),
        })
    }

    fn xdp(&self, options: &SocketOptions) -> Result<Xdp, ChooseError> {
        let no_ethernet = || XdpError::NoEthernet(self.interface.name.clone());
        let [low, high, ..] = getrandom::u32().map_err(|error| ChooseError::Random(error.to_string()))?.to_le_bytes();
        let xdp = XdpOptions {
            socket: options,
            ethernet: self.interface.ethernet().ok_or_else(no_ethernet)?,
            threads: self.threads.max(1),
            largest_packet: self.largest_packet,
            vlan_id: self.vlan_id,
            first_ip_id: u16::from_le_bytes([low, high]),
        };
        Ok(Xdp::open(&xdp, open(options, self.interface)?)?)
    }

    /// The backend of this kind, after another one like it has sent; with what turned out.
    fn probed(&self, kind: BackendKind) -> Result<(Box<dyn Backend>, String), ChooseError> {
        let probe = Egress { threads: 1, huge_pages: false, ..*self };
        let port = DISCARD_PORTS[usize::from(self.options.port == DISCARD_PORTS[0])];
        let options = SocketOptions { port, ttl: 0, loopback: false, ..*self.options };
        let backend = probe.make(kind, &options)?;
        let name = backend.name();
        let findings = send_probe(backend).map_err(|error| ChooseError::Probe { backend: name, error })?;
        let findings =
            findings.map_or("a probe was sent".to_owned(), |findings| format!("a probe was sent {findings}"));
        Ok((self.make(kind, self.options)?, findings))
    }
}

/// Sends two packets as a super-packet; returns what turned out.
fn send_probe(backend: Box<dyn Backend>) -> io::Result<Option<String>> {
    let shape = SlotShape { packets: 2, packet_len: PROBE_PACKET, largest_packet: PROBE_PACKET };
    let mut started = backend.start(1, &shape)?;
    let mut slots: VecDeque<_> = started.slots.drain(..).collect();
    for slot in &mut slots {
        slot.clear();
        // The shape has room for both.
        let _ = (slot.push(PROBE_PACKET), slot.push(PROBE_PACKET));
        slot.finish();
    }
    let mut free = Vec::with_capacity(1);
    let Some(sender) = started.senders.first_mut() else { return Ok(None) };
    let sent = sender.post(&mut slots, &mut free);
    sender.finish(&mut free)?;
    sent?;
    Ok(Transmit::findings(&**sender))
}

/// The backend for `kind` towards `egress`.
pub fn choose(kind: BackendKind, egress: &Egress<'_>) -> Result<Choice, ChooseError> {
    if kind != BackendKind::Auto {
        let (backend, findings) = egress.probed(kind)?;
        return Ok(Choice { backend, why: format!("it was asked for; {findings}") });
    }
    // AF_XDP goes past queueing discipline and firewall, and takes a queue of the device: that is for the operator to ask for.
    // A copied send costs the same through io_uring and sendmmsg, so the ring pays only where nothing need be copied.
    let not_uring = if egress.interface.is_hardware() {
        match egress.probed(BackendKind::Uring) {
            Ok((backend, findings)) => {
                let why = format!("{} is hardware, which can send without a copy; {findings}", egress.interface.name);
                return Ok(Choice { backend, why });
            }
            Err(error) => error.to_string(),
        }
    } else {
        format!("uring pays only where hardware sends without a copy, and {} is none", egress.interface.name)
    };
    let (backend, findings) = egress.probed(BackendKind::Mmsg)?;
    Ok(Choice { backend, why: format!("{not_uring}; {findings}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_disturb_nobody_and_auto_says_why() {
        let interface = Interface::by_name("lo").unwrap();
        let options = SocketOptions {
            source: "127.0.0.1".parse().unwrap(),
            group: "239.7.7.7".parse().unwrap(),
            port: 47_123,
            ttl: 1,
            dscp: 0,
            loopback: true,
        };
        let receiver = UdpSocket::bind("239.7.7.7:47123").unwrap();
        receiver.join_multicast_v4(&"239.7.7.7".parse().unwrap(), &"127.0.0.1".parse().unwrap()).unwrap();
        receiver.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
        let egress = Egress {
            options: &options,
            interface: &interface,
            threads: 2,
            largest_packet: 1500,
            vlan_id: None,
            huge_pages: false,
        };
        for kind in [BackendKind::Auto, BackendKind::Mmsg, BackendKind::Uring] {
            let choice = choose(kind, &egress).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
            assert!(choice.why.contains("a probe was sent"), "{}", choice.why);
            let expected = if kind == BackendKind::Uring { "uring" } else { "mmsg" };
            assert_eq!(choice.backend.name(), expected);
            assert!(receiver.recv(&mut [0; 100]).is_err(), "a probe was heard");
        }
        // With a TTL it would have been heard.
        let backend = egress.make(BackendKind::Uring, &options).unwrap();
        send_probe(backend).unwrap();
        assert_eq!(receiver.recv(&mut [0; 100]).unwrap(), PROBE_PACKET);
    }
}
