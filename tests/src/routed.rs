//! A routed network: the sender is two routers away from the switch that receivers are behind.
//!
//! ```text
//!   sender   eth0 ── e0 ┐                              ┌ p0 ── eth0 r0          10.90.2.11
//!   10.90.0.2           │ router 1 e1 ── e0 router 2 e1 ── br0 ┤ …
//!   stranger eth0 ── e2 ┘ 10.90.1.1      10.90.1.2     └ p2 ── eth0 bystander   10.90.2.13
//!   10.90.3.2
//! ```
//!
//! Router 1 is the rendezvous point of 239/8 (PIM-SM, RFC 7761); 232/8 is source-specific.

use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use crate::bridge::Bridge;
use crate::lab::INTERFACE;
use crate::lock::LabLock;
use crate::namespace::Namespace;
use crate::router::Router;
use crate::{LabError, interrupt, root, sweep};

/// The sender's address.
pub const SENDER: Ipv4Addr = Ipv4Addr::new(10, 90, 0, 2);
/// The address of a host that also sends to the group, and is asked for by nobody.
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 90, 3, 2);
/// Receivers on the switch; one more host there never joins.
pub const RECEIVERS: usize = 2;

const MTU: u32 = 1_500;
const MEMBERS_TIMEOUT: Duration = Duration::from_secs(15);
const PIM_1: &str = "ip pim rp 10.90.1.1 239.0.0.0/8
interface e0
 ip pim
interface e2
 ip pim
interface e1
 ip pim
 ip pim hello 1 4
";
/// The answers to its queries come soon, because a switch floods until they can all be there.
const PIM_2: &str = "ip pim rp 10.90.1.1 239.0.0.0/8
interface e0
 ip pim
 ip pim hello 1 4
interface e1
 ip pim
 ip igmp
 ip igmp version 3
 ip igmp query-interval 5
 ip igmp query-max-response-time 10
";

/// Probes whether the switch floods: from the router, to a group that nobody joins, larger than a membership report.
const PROBE_FROM: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 90, 2, 1), 0);
const PROBE_GROUP: (Ipv4Addr, u16) = (Ipv4Addr::new(239, 255, 9, 9), 9);
const PROBE_BYTES: usize = 1_000;
/// The switch has not flooded for so long: more than the router's response time.
const QUIET: Duration = Duration::from_millis(1_500);
const POLL: Duration = Duration::from_millis(20);

/// The network. All is removed on drop.
#[derive(Debug)]
pub struct RoutedLab {
    // Fields are dropped in this order: what is inside goes before the lock does.
    routers: [Router; 2],
    sender: Namespace,
    stranger: Namespace,
    receivers: Vec<Namespace>,
    bystander: Namespace,
    bridge: Bridge,
    _lock: LabLock,
}

impl RoutedLab {
    /// Waits for other labs to end, removes what killed ones left, and builds this one.
    ///
    /// # Errors
    /// When this user may not, FRR is not installed, or a tool fails.
    pub fn new() -> Result<Self, LabError> {
        root::check()?;
        Router::check()?;
        let lock = LabLock::acquire()?;
        sweep::leftovers(&lock);
        let bridge = Bridge::new(&lock, "10.90.2.254/24", "fd90::fe/64")?;
        let routers = [Router::new(&lock, "router1")?, Router::new(&lock, "router2")?];
        let sender = behind(&lock, "sender", routers[0].namespace(), "e0", SENDER)?;
        // A router drops what is larger than its links, super-packets too: they are packets before they leave the sender.
        sender.link(INTERFACE).set_feature("tx-udp-segmentation", false)?;
        let stranger = behind(&lock, "stranger", routers[0].namespace(), "e2", STRANGER)?;
        let (first, second) = (routers[0].namespace(), routers[1].namespace());
        first.ip(&[
            format!("link add e1 type veth peer name e0 netns {}", second.name()),
            "addr add 10.90.1.1/24 dev e1".into(),
            "link set e1 up".into(),
        ])?;
        bridge.plug("p-router", second, MTU)?;
        second.ip(&[
            format!("link set {INTERFACE} name e1"),
            "addr add 10.90.1.2/24 dev e0".into(),
            "addr add 10.90.2.1/24 dev e1".into(),
            "link set e0 up".into(),
            "link set e1 up".into(),
            "route add 10.90.0.0/24 via 10.90.1.1".into(),
            "route add 10.90.3.0/24 via 10.90.1.1".into(),
        ])?;
        first.ip(&["route add 10.90.2.0/24 via 10.90.1.2"])?;
        let on_switch = |index: usize, role: &str| {
            let host = Namespace::new(&lock, role)?;
            bridge.plug(&format!("p{index}"), &host, MTU)?;
            host.ip(&[
                format!("addr add 10.90.2.{}/24 dev {INTERFACE}", 11 + index),
                format!("link set {INTERFACE} up"),
                "route add default via 10.90.2.1".into(),
            ])?;
            Ok::<_, LabError>(host)
        };
        let receivers: Vec<Namespace> =
            (0..RECEIVERS).map(|index| on_switch(index, &format!("r{index}"))).collect::<Result<_, _>>()?;
        let bystander = on_switch(RECEIVERS, "bystander")?;
        let mut lab = Self { routers, sender, stranger, receivers, bystander, bridge, _lock: lock };
        let [first, second] = &mut lab.routers;
        first.start(PIM_1)?;
        second.start(PIM_2)?;
        Ok(lab)
    }

    /// The sender's namespace.
    pub fn sender(&self) -> &Namespace {
        &self.sender
    }

    /// The host that nobody asks for.
    pub fn stranger(&self) -> &Namespace {
        &self.stranger
    }

    /// The receivers' namespaces.
    pub fn receivers(&self) -> &[Namespace] {
        &self.receivers
    }

    /// The host that never joins.
    pub fn bystander(&self) -> &Namespace {
        &self.bystander
    }

    /// Waits until the switch filters and knows every receiver, and both routers forward the group.
    ///
    /// # Errors
    /// On an interrupt, or when it does not happen within some seconds.
    pub fn await_all_joined(&self, group: Ipv4Addr) -> Result<(), LabError> {
        self.bridge.settle()?;
        let ports: Vec<String> = (0..RECEIVERS).map(|index| format!("p{index}")).collect();
        self.bridge.await_members(group.into(), &ports, MEMBERS_TIMEOUT)?;
        // The first router learns it from the second.
        self.routers.iter().try_for_each(|router| router.await_route(group, MEMBERS_TIMEOUT))?;
        self.await_filtering()
    }

    /// The switch floods for a while when the router takes over as querier: probes to a group that nobody has joined tell.
    fn await_filtering(&self) -> Result<(), LabError> {
        let router = self.routers[1].namespace();
        let probes = router.enter(|| UdpSocket::bind(PROBE_FROM))?.map_err(LabError::io("make a socket"))?;
        let start = Instant::now();
        let mut quiet_since = start;
        while quiet_since.elapsed() < QUIET {
            interrupt::check()?;
            if start.elapsed() > MEMBERS_TIMEOUT {
                let what = "the switch filters multicast".to_owned();
                return Err(LabError::Timeout { what, waited: MEMBERS_TIMEOUT });
            }
            let heard = || Ok::<_, LabError>(self.bystander.link(INTERFACE).counters()?.rx_bytes);
            let before = heard()?;
            probes.send_to(&[0; PROBE_BYTES], PROBE_GROUP).map_err(LabError::io("send a probe"))?;
            thread::sleep(POLL);
            if heard()? - before >= PROBE_BYTES as u64 {
                quiet_since = Instant::now();
            }
        }
        Ok(())
    }
}

/// A host alone on a cable to a router.
fn behind(
    lock: &LabLock,
    role: &str,
    router: &Namespace,
    link: &str,
    address: Ipv4Addr,
) -> Result<Namespace, LabError> {
    let host = Namespace::new(lock, role)?;
    let [a, b, c, _] = address.octets();
    router.ip(&[
        format!("link add {link} type veth peer name {INTERFACE} netns {}", host.name()),
        format!("addr add {a}.{b}.{c}.1/24 dev {link}"),
        format!("link set {link} up"),
    ])?;
    host.ip(&[
        format!("addr add {address}/24 dev {INTERFACE}"),
        format!("link set {INTERFACE} up"),
        format!("route add default via {a}.{b}.{c}.1"),
    ])?;
    Ok(host)
}
