//! What is lacking, on its way to the sender: one datagram now and then, to the address of the session's source and no
//! other.

use super::{Options, Run};
use crate::ingest::Interface;
use fleetcast_protocol::session::receiver::ReceiverSession;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

/// The socket that reports leave by.
#[derive(Debug)]
pub struct Asking {
    socket: UdpSocket,
    source: IpAddr,
    /// For a source that is known only on its link.
    scope_id: u32,
}

impl Asking {
    /// Asks the source of the channel, if it has one and the options allow it.
    pub fn open(options: &Options, interface: &Interface) -> io::Result<Option<Self>> {
        let Some(source) = options.channel.source.filter(|_| options.feedback) else { return Ok(None) };
        let any: IpAddr = match source {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_nonblocking(true)?;
        Ok(Some(Self { socket, source, scope_id: interface.index }))
    }

    fn send(&self, port: u16, datagram: &[u8]) {
        let to = match self.source {
            IpAddr::V6(source) if source.is_unicast_link_local() => {
                SocketAddr::V6(SocketAddrV6::new(source, port, 0, self.scope_id))
            }
            source => SocketAddr::new(source, port),
        };
        // A report that does not leave is one that is lost: the session repeats it.
        let _ = self.socket.send_to(datagram, to);
    }
}

/// The session, told whether it may ask.
pub(super) fn session(asking: Option<&Asking>, session: ReceiverSession) -> io::Result<ReceiverSession> {
    let Some(_) = asking else { return Ok(session) };
    Ok(session.with_feedback(getrandom::u64().map_err(io::Error::other)?))
}

impl Run<'_> {
    /// Asks for what is lacking, when it is time.
    pub(super) fn ask(&mut self) {
        let now = self.now();
        if let (Some(asking), Some(request)) = (&self.asking, self.session.poll_feedback(now)) {
            asking.send(request.port, &request.datagram);
        }
    }
}
