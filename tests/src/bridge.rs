//! A bridge with IGMP and MLD snooping and a querier: the switch between the sender and its receivers.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::command::run;
use crate::lock::LabLock;
use crate::namespace::Namespace;
use crate::{LabError, interrupt};

const DEVICE: &str = "br0";
const POLL: Duration = Duration::from_millis(20);
/// How long hosts may take to answer a general query, and therefore how long a new querier floods multicast to every port
/// before it relies on what it has learned. The kernel's default of 10 s makes a lab slow for nothing.
const QUERY_RESPONSE: Duration = Duration::from_secs(1);

/// A namespace that holds the bridge `br0` and its ports.
#[derive(Debug)]
pub struct Bridge {
    namespace: Namespace,
    querying_since: Instant,
}

impl Bridge {
    /// Makes the bridge. It acts as IGMPv3 and MLDv2 querier at once, and [`Bridge::settle`] says when it filters.
    ///
    /// # Errors
    /// When a namespace or the bridge cannot be made.
    pub fn new(lock: &LabLock, address: &str, address_v6: &str) -> Result<Self, LabError> {
        let namespace = Namespace::new(lock, "bridge")?;
        let response_centis = QUERY_RESPONSE.as_millis() / 10;
        namespace.ip(&[
            format!(
                "link add {DEVICE} type bridge stp_state 0 forward_delay 0 mcast_snooping 1 mcast_igmp_version 3 \
                 mcast_mld_version 2 mcast_query_response_interval {response_centis}"
            ),
            format!("addr add {address} dev {DEVICE}"),
            format!("addr add {address_v6} dev {DEVICE} nodad"),
            format!("link set {DEVICE} up"),
            format!("link set {DEVICE} type bridge mcast_querier 1"),
        ])?;
        Ok(Self { namespace, querying_since: Instant::now() })
    }

    /// The namespace that the bridge and its ports are in.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Plugs a new veth pair: `port` on the bridge, `eth0` in `host`.
    ///
    /// # Errors
    /// When the pair cannot be made.
    pub fn plug(&self, port: &str, host: &Namespace, mtu: u32) -> Result<(), LabError> {
        let host = host.name();
        self.namespace.ip(&[
            format!("link add {port} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {host}"),
            format!("link set {port} master {DEVICE} up"),
        ])
    }

    /// Waits until the bridge filters: until then it floods multicast to every port.
    ///
    /// # Errors
    /// On an interrupt.
    pub fn settle(&self) -> Result<(), LabError> {
        let settled = self.querying_since + QUERY_RESPONSE + Duration::from_millis(200);
        while Instant::now() < settled {
            interrupt::check()?;
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// The ports behind which the bridge knows a member of a group (of any source).
    ///
    /// # Errors
    /// When the multicast database cannot be read.
    pub fn member_ports(&self, group: IpAddr) -> Result<BTreeSet<String>, LabError> {
        let json = run(Command::new("bridge").args(["-n", self.namespace.name(), "-j", "-d", "mdb", "show"]))?;
        let tables: Vec<Table> = serde_json::from_str(&json)
            .map_err(|error| LabError::Output { program: "bridge".into(), line: error.to_string() })?;
        let entries = tables.into_iter().flat_map(|table| table.mdb);
        Ok(entries.filter(|entry| entry.grp.parse() == Ok(group)).map(|entry| entry.port).collect())
    }

    /// Waits until the bridge knows a member of the group behind each of the ports.
    ///
    /// # Errors
    /// On an interrupt, or when it takes longer than `timeout`.
    pub fn await_members(&self, group: IpAddr, ports: &[String], timeout: Duration) -> Result<(), LabError> {
        let start = Instant::now();
        loop {
            let members = self.member_ports(group)?;
            if ports.iter().all(|port| members.contains(port)) {
                return Ok(());
            }
            interrupt::check()?;
            if start.elapsed() > timeout {
                let what = format!("members of {group} behind {ports:?} (the bridge knows {members:?})");
                return Err(LabError::Timeout { what, waited: timeout });
            }
            thread::sleep(POLL);
        }
    }
}

#[derive(Deserialize)]
struct Table {
    #[serde(default)]
    mdb: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    port: String,
    grp: String,
}
