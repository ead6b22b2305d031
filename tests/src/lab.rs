//! The standard lab: one sender and n receivers on a bridge.
//!
//! ```text
//!   sender eth0 ── p-sender ┐
//!   10.77.0.1               │ br0  ┌ p0 ── eth0 r0   10.77.1.1   fd77::1:1
//!   fd77::1                 └──────┤ …
//!                                  └ pn ── eth0 rn
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::bridge::Bridge;
use crate::link::Link;
use crate::lock::LabLock;
use crate::loss::Loss;
use crate::loss_program::LossProgram;
use crate::namespace::Namespace;
use crate::{LabError, root, sweep};

/// The sender's address, and the source of its SSM channels.
pub const SENDER_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The sender's IPv6 address.
pub const SENDER_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
/// The name of the only interface of a sender or receiver.
pub const INTERFACE: &str = "eth0";
/// More receivers than this do not fit the address plan, and no two cores feed them.
pub const RECEIVERS_MAX: usize = 1_000;

const BRIDGE_V4: &str = "10.77.255.254/16";
const BRIDGE_V6: &str = "fd77::ffff:1/64";
/// The bridge's port towards the sender.
pub const SENDER_PORT: &str = "p-sender";
const MEMBERS_TIMEOUT: Duration = Duration::from_secs(10);

/// What a lab is made of.
#[derive(Debug, Clone, Copy)]
pub struct LabConfig {
    /// How many receivers, at most [`RECEIVERS_MAX`].
    pub receivers: usize,
    /// The MTU of every link, in bytes.
    pub mtu: u32,
}

impl Default for LabConfig {
    fn default() -> Self {
        Self { receivers: 1, mtu: 1_500 }
    }
}

/// A sender, a bridge and receivers, each in a namespace. All is removed on drop.
#[derive(Debug)]
pub struct Lab {
    // Fields are dropped in this order: what is inside goes before the lock does.
    losses: Vec<LossProgram>,
    receivers: Vec<Namespace>,
    sender: Namespace,
    bridge: Bridge,
    _lock: LabLock,
}

impl Lab {
    /// Waits for other labs to end, removes what killed ones left, and builds this one.
    ///
    /// # Errors
    /// When this user may not, or a tool fails.
    pub fn new(config: &LabConfig) -> Result<Self, LabError> {
        root::check()?;
        if config.receivers > RECEIVERS_MAX {
            return Err(LabError::Unfit(format!("at most {RECEIVERS_MAX} receivers, not {}", config.receivers)));
        }
        let lock = LabLock::acquire()?;
        sweep::leftovers(&lock);
        let bridge = Bridge::new(&lock, BRIDGE_V4, BRIDGE_V6)?;
        let sender = Namespace::new(&lock, "sender")?;
        connect(&bridge, SENDER_PORT, &sender, config.mtu, SENDER_V4, SENDER_V6)?;
        // The kernel segments super-packets before the veth, so that its counters see every packet with its headers.
        sender.link(INTERFACE).set_feature("tx-udp-segmentation", false)?;
        let mut receivers = Vec::with_capacity(config.receivers);
        for index in 0..config.receivers {
            let receiver = Namespace::new(&lock, &format!("r{index}"))?;
            connect(&bridge, &port(index), &receiver, config.mtu, receiver_v4(index), receiver_v6(index))?;
            // Lets the veth collect packets in NAPI, which it does while a loss program is attached: without one it takes what
            // comes from a peer that offers TSO for collected already.
            receiver.link(INTERFACE).set_feature("gro", true)?;
            receivers.push(receiver);
        }
        Ok(Self { losses: Vec::new(), receivers, sender, bridge, _lock: lock })
    }

    /// The sender's namespace.
    pub fn sender(&self) -> &Namespace {
        &self.sender
    }

    /// The sender's interface, on which wire bytes are counted.
    pub fn wire(&self) -> Link<'_> {
        self.sender.link(INTERFACE)
    }

    /// The receivers' namespaces.
    pub fn receivers(&self) -> &[Namespace] {
        &self.receivers
    }

    /// The switch in the middle.
    pub fn bridge(&self) -> &Bridge {
        &self.bridge
    }

    /// Gives every receiver its own loss for UDP datagrams to `port`: `losses[i]` at receiver i. Replaces earlier ones.
    ///
    /// # Errors
    /// When the program cannot be loaded or attached.
    pub fn set_losses(&mut self, port: u16, losses: &[Loss]) -> Result<(), LabError> {
        self.losses.clear();
        for (receiver, loss) in self.receivers.iter().zip(losses) {
            let mut program = LossProgram::load(loss, port)?;
            program.attach(receiver.link(INTERFACE))?;
            self.losses.push(program);
        }
        Ok(())
    }

    /// The loss programs at work, by receiver; empty without [`Lab::set_losses`].
    pub fn losses(&self) -> &[LossProgram] {
        &self.losses
    }

    /// Waits until the bridge filters and knows every receiver as a member of the group, so that nothing that is sent
    /// from now on is lost for want of a membership.
    ///
    /// # Errors
    /// On an interrupt, or when it does not happen within some seconds.
    pub fn await_all_joined(&self, group: IpAddr) -> Result<(), LabError> {
        self.bridge.settle()?;
        let ports: Vec<_> = (0..self.receivers.len()).map(port).collect();
        self.bridge.await_members(group, &ports, MEMBERS_TIMEOUT)
    }
}

/// The bridge's port towards a receiver.
pub fn port(index: usize) -> String {
    format!("p{index}")
}

/// A receiver's IPv4 address.
pub fn receiver_v4(index: usize) -> Ipv4Addr {
    let [high, low] = ordinal(index).to_be_bytes();
    Ipv4Addr::new(10, 77, 1 + high, low)
}

/// A receiver's IPv6 address.
pub fn receiver_v6(index: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 1, ordinal(index))
}

/// From 1, so that no address ends in 0.
fn ordinal(index: usize) -> u16 {
    u16::try_from(index + 1).unwrap_or(u16::MAX)
}

fn connect(
    bridge: &Bridge,
    port: &str,
    host: &Namespace,
    mtu: u32,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
) -> Result<(), LabError> {
    bridge.plug(port, host, mtu)?;
    host.ip(&[
        format!("addr add {v4}/16 dev {INTERFACE}"),
        format!("addr add {v6}/64 dev {INTERFACE} nodad"),
        format!("link set {INTERFACE} up"),
        format!("route add 224.0.0.0/4 dev {INTERFACE}"),
    ])
}
