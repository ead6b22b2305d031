//! Two hosts on one cable: a sender and a sink, for what is about packets and not about receivers.
//!
//! ```text
//!   sender eth0 ───── eth0 sink
//!   10.77.0.1
//!   fd77::1
//! ```

use std::fmt::Display;
use std::net::{Ipv4Addr, Ipv6Addr};

use aya::programs::{SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};

use crate::link::Link;
use crate::lock::LabLock;
use crate::namespace::Namespace;
use crate::{LabError, root, sweep};

/// The interface of either host.
pub const INTERFACE: &str = "eth0";
/// The sender's addresses.
pub const SENDER: (Ipv4Addr, Ipv6Addr) = (Ipv4Addr::new(10, 77, 0, 1), Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1));

/// Compiled from `tag.bpf.c` by `scripts/bpf`.
const TAG_OBJECT: &[u8] = include_bytes_aligned!("tag.bpf.o");
const TAG_PROGRAM: &str = "tag";

/// Both hosts. All is removed on drop.
#[derive(Debug)]
pub struct Pair {
    // Fields are dropped in this order: what is inside goes before the lock does.
    sender: Namespace,
    sink: Namespace,
    tag: Option<Ebpf>,
    _lock: LabLock,
}

impl Pair {
    /// Waits for other labs to end, removes what killed ones left, and joins two hosts by a cable of this MTU, in bytes, and
    /// with `queues` transmit queues.
    ///
    /// # Errors
    /// When this user may not, or a tool fails.
    pub fn new(mtu: u32, queues: u32) -> Result<Self, LabError> {
        root::check()?;
        let lock = LabLock::acquire()?;
        sweep::leftovers(&lock);
        let (sender, sink) = (Namespace::new(&lock, "sender")?, Namespace::new(&lock, "sink")?);
        let queues = format!("numtxqueues {queues} numrxqueues {queues}");
        sender.ip(&[
            format!(
                "link add {INTERFACE} mtu {mtu} {queues} type veth peer {INTERFACE} mtu {mtu} {queues} netns {}",
                sink.name()
            ),
            format!("link set {INTERFACE} up"),
            format!("addr add {}/24 dev {INTERFACE}", SENDER.0),
            format!("addr add {}/64 dev {INTERFACE} nodad", SENDER.1),
        ])?;
        sink.ip(&[format!("link set {INTERFACE} up")])?;
        Ok(Self { sender, sink, tag: None, _lock: lock })
    }

    /// The sender's namespace.
    pub fn sender(&self) -> &Namespace {
        &self.sender
    }

    /// The sink's namespace.
    pub fn sink(&self) -> &Namespace {
        &self.sink
    }

    /// The sink's end of the cable.
    pub fn sink_link(&self) -> Link<'_> {
        self.sink.link(INTERFACE)
    }

    /// Has the sender's kernel cut super-packets and write checksums, as a network card would: what crosses the cable is
    /// then whole packets.
    ///
    /// # Errors
    /// When the device has no such features.
    pub fn finish_packets_before_the_cable(&self) -> Result<(), LabError> {
        let link = self.sender.link(INTERFACE);
        link.set_feature("tx-udp-segmentation", false)?;
        link.set_feature("tx-checksum-ip-generic", false)
    }

    /// Tags what the sender's network stack sends with this VLAN from now on, or no longer.
    ///
    /// # Errors
    /// When the program cannot be loaded or attached.
    pub fn tag_what_leaves(&mut self, vlan_id: Option<u16>) -> Result<(), LabError> {
        self.tag = None;
        let Some(vlan_id) = vlan_id else { return Ok(()) };
        let mut ebpf =
            EbpfLoader::new().override_global("vlan_id", &vlan_id, true).load(TAG_OBJECT).map_err(failed("load"))?;
        let program = ebpf.program_mut(TAG_PROGRAM).ok_or_else(|| failed("find")("it is not in its object"))?;
        let program: &mut SchedClassifier = program.try_into().map_err(failed("load"))?;
        program.load().map_err(failed("load"))?;
        let attached = self.sender.enter(|| program.attach(INTERFACE, TcAttachType::Egress))?;
        attached.map_err(failed("attach"))?;
        self.tag = Some(ebpf);
        Ok(())
    }
}

/// With the causes beneath: the kernel's reason is the innermost.
fn failed<E: Display>(what: &'static str) -> impl FnOnce(E) -> LabError {
    move |error| LabError::Unfit(format!("cannot {what} the program that tags frames: {error:#}"))
}
