//! What this process may do beyond reading its socket and writing its files ends once the socket and the filter are there.

use rustix::io;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// What opens filters and sockets. None of it is needed to use them.
const NETWORK: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYS_ADMIN);

/// Gives up the capabilities that only setting up needed, for good. Called before any thread starts: capabilities belong to
/// threads, and pass to those that they start. (A hook that root starts gets them again: that is the kernel's rule for root.)
///
/// # Errors
/// When the kernel refuses it.
pub fn drop_network() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    sets.effective.remove(NETWORK);
    sets.permitted.remove(NETWORK);
    sets.inheritable.remove(NETWORK);
    set_capabilities(None, sets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_up_is_gone_from_this_thread_and_those_it_starts() {
        std::thread::spawn(|| {
            drop_network().unwrap();
            let there = std::thread::spawn(|| capabilities(None).unwrap()).join().unwrap();
            assert!(!there.effective.intersects(NETWORK) && !there.permitted.intersects(NETWORK), "{there:?}");
            drop_network().unwrap();
        })
        .join()
        .unwrap();
    }
}
