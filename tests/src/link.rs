//! A network interface inside a namespace.

use std::fs;

use crate::LabError;
use crate::command::run;
use crate::namespace::Namespace;

/// An interface by namespace and name.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    namespace: &'a Namespace,
    name: &'a str,
}

/// What an interface has counted since it was made. Bytes are those of Ethernet frames without FCS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames received.
    pub rx_packets: u64,
    /// Received frames that the kernel had to drop.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Frames that could not be sent.
    pub tx_dropped: u64,
}

impl<'a> Link<'a> {
    pub(crate) fn new(namespace: &'a Namespace, name: &'a str) -> Self {
        Self { namespace, name }
    }

    /// The namespace that it is in.
    pub fn namespace(&self) -> &'a Namespace {
        self.namespace
    }

    /// Its name there.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Switches an offload feature by its `ethtool -k` name, for example `gro` or `tx-udp-segmentation`.
    ///
    /// # Errors
    /// When the device has no such feature or it is fixed.
    pub fn set_feature(&self, feature: &str, on: bool) -> Result<(), LabError> {
        let state = if on { "on" } else { "off" };
        run(self.namespace.command("ethtool").args(["-K", self.name, feature, state])).map(drop)
    }

    /// Reads its counters.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn counters(&self) -> Result<LinkCounters, LabError> {
        // The thread's own view: /proc/net would be the view of the process's first thread, which is outside.
        let table = self.namespace.enter(|| fs::read_to_string("/proc/thread-self/net/dev"))?;
        let table = table.map_err(LabError::io("read the interface counters"))?;
        counters_of(&table, self.name)
            .ok_or_else(|| LabError::Unfit(format!("namespace {} has no {}", self.namespace.name(), self.name)))
    }
}

/// Finds a line such as `  eth0: bytes packets errs drop fifo frame compressed multicast bytes packets errs drop …`.
fn counters_of(table: &str, name: &str) -> Option<LinkCounters> {
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'))?;
    let numbers: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let &[rx_bytes, rx_packets, _, rx_dropped, _, _, _, _, tx_bytes, tx_packets, _, tx_dropped, ..] =
        numbers.as_slice()
    else {
        return None;
    };
    Some(LinkCounters { rx_bytes, rx_packets, rx_dropped, tx_bytes, tx_packets, tx_dropped })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernel_table() {
        let table = "Inter-|   Receive      |  Transmit\n face |bytes packets\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  \
                     eth0: 10 2 0 3 0 0 0 0 40 5 0 6 0 0 0 0\neth01: 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9\n";
        let expected =
            LinkCounters { rx_bytes: 10, rx_packets: 2, rx_dropped: 3, tx_bytes: 40, tx_packets: 5, tx_dropped: 6 };
        assert_eq!(counters_of(table, "eth0"), Some(expected));
        assert_eq!(counters_of(table, "eth"), None);
    }
}
