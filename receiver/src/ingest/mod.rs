//! From the network to the session: membership, and packets in batches.
//!
//! The fast path is recvmmsg with UDP_GRO: the kernel hands over super-packets of many datagrams, which costs a
//! fraction of one receive per datagram. Where the kernel lacks UDP_GRO the same code receives datagrams one by one.
//! All `unsafe` of the receiver is in this folder.

mod batch;
mod interface;
mod membership;
mod socket;
mod sockopt;

pub use batch::{Batch, Received};
pub use interface::Interface;
pub use socket::{Joined, SocketError, open};
