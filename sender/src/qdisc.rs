//! Which queueing discipline an interface has, by netlink: whether the kernel can pace.
//!
//! SO_MAX_PACING_RATE and SO_TXTIME succeed on every socket and do nothing unless fq (or etf) is there, so the qdisc is looked
//! up instead of trusting setsockopt.

use crate::interface::{Interface, InterfaceError, dump};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use thiserror::Error;

/// The qdisc that paces.
const FQ: &str = "fq";
/// The root of devices with several queues: its children are what counts.
const MULTI_QUEUE: &str = "mq";

/// Why the kernel cannot pace.
#[derive(Debug, Error)]
pub enum PacingError {
    /// The kernel does not tell.
    #[error(transparent)]
    Netlink(#[from] InterfaceError),
    /// There is another qdisc.
    #[error(
        "--pacing fq needs the qdisc fq on '{interface}', which has {found}; `tc qdisc replace dev {interface} root fq` sets it \
         where the kernel has it (CONFIG_NET_SCH_FQ), or use --pacing user"
    )]
    NoFq {
        /// Interface name.
        interface: String,
        /// What it has.
        found: String,
    },
    /// The backend passes no qdisc.
    #[error("--pacing fq goes with the backends mmsg and uring; {0} passes the qdisc by")]
    Backend(&'static str),
}

/// One qdisc of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Qdisc {
    kind: String,
    handle: TcHandle,
    parent: TcHandle,
}

/// An error when not every packet that leaves through `interface` is queued by fq.
pub fn require_fq(interface: &Interface) -> Result<(), PacingError> {
    let messages = dump(RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default()))?;
    let qdiscs = of_interface(&messages, interface.index);
    if is_paced(&qdiscs) {
        return Ok(());
    }
    let mut kinds: Vec<&str> = qdiscs.iter().map(|qdisc| qdisc.kind.as_str()).collect();
    kinds.dedup();
    let found = if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") };
    Err(PacingError::NoFq { interface: interface.name.clone(), found })
}

/// The qdiscs that packets leaving through an interface pass.
fn of_interface(messages: &[RouteNetlinkMessage], index: u32) -> Vec<Qdisc> {
    let qdisc = |message: &RouteNetlinkMessage| {
        let RouteNetlinkMessage::NewQueueDiscipline(message) = message else { return None };
        let header = &message.header;
        if i64::from(header.index) != i64::from(index) || header.parent == TcHandle::INGRESS {
            return None;
        }
        let kind = message.attributes.iter().find_map(|attribute| match attribute {
            TcAttribute::Kind(kind) => Some(kind.clone()),
            _ => None,
        })?;
        Some(Qdisc { kind, handle: header.handle, parent: header.parent })
    };
    messages.iter().filter_map(qdisc).collect()
}

/// Whether fq is the root, or the root is mq and all its children are fq.
fn is_paced(qdiscs: &[Qdisc]) -> bool {
    let Some(root) = qdiscs.iter().find(|qdisc| qdisc.parent == TcHandle::ROOT) else { return false };
    if root.kind == FQ {
        return true;
    }
    let mut children = qdiscs.iter().filter(|qdisc| qdisc.parent.major == root.handle.major).peekable();
    root.kind == MULTI_QUEUE && children.peek().is_some() && children.all(|child| child.kind == FQ)
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::{NetlinkBuffer, NetlinkMessage, NetlinkPayload};
    use proptest::prelude::*;

    fn qdisc(index: i32, kind: &str, handle: u16, parent: TcHandle) -> RouteNetlinkMessage {
        let mut message = TcMessage::with_index(index);
        (message.header.handle.major, message.header.parent) = (handle, parent);
        message.attributes.push(TcAttribute::Kind(kind.to_owned()));
        RouteNetlinkMessage::NewQueueDiscipline(message)
    }

    fn queue(index: i32, kind: &str, minor: u16) -> RouteNetlinkMessage {
        qdisc(index, kind, 0x100 + minor, TcHandle { major: 8, minor })
    }

    #[test]
    fn fq_counts_as_the_root_or_below_every_queue() {
        let paced = |messages: &[RouteNetlinkMessage]| is_paced(&of_interface(messages, 2));
        let root = |kind| qdisc(2, kind, 8, TcHandle::ROOT);
        assert!(paced(&[root("fq")]));
        assert!(paced(&[root("mq"), queue(2, "fq", 1), queue(2, "fq", 2)]));
        assert!(paced(&[root("fq"), qdisc(2, "clsact", 0xffff, TcHandle::INGRESS)]));
        assert!(!paced(&[]));
        assert!(!paced(&[root("fq_codel")]));
        assert!(!paced(&[root("mq")]));
        assert!(!paced(&[root("mq"), queue(2, "fq", 1), queue(2, "fq_codel", 2)]));
        assert!(!paced(&[qdisc(3, "fq", 8, TcHandle::ROOT), root("noqueue")]), "of another interface");
        assert!(!paced(&[root("htb"), queue(2, "fq", 1)]), "what htb does below is its own");
    }

    #[test]
    fn says_what_is_there_instead() {
        let lo = Interface::by_name("lo").unwrap();
        let error = require_fq(&lo).expect_err("the loopback has no fq").to_string();
        assert!(error.contains("which has noqueue") && error.contains("root fq"), "{error}");
    }

    proptest! {
        #[test]
        fn no_answer_breaks_the_reading(bytes in prop::collection::vec(any::<u8>(), 0..200), len in any::<bool>()) {
            let mut bytes = bytes;
            if len && bytes.len() >= 20 {
                // With the right length and type the body is looked at, too.
                let total = u32::try_from(bytes.len()).unwrap().to_ne_bytes();
                bytes[..4].copy_from_slice(&total);
                bytes[4..6].copy_from_slice(&36u16.to_ne_bytes());
            }
            let _ = NetlinkBuffer::new_checked(&bytes[..]);
            if let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes)
                && let NetlinkPayload::InnerMessage(message) = message.payload
            {
                let index = match &message {
                    RouteNetlinkMessage::NewQueueDiscipline(message) => message.header.index.cast_unsigned(),
                    _ => 2,
                };
                is_paced(&of_interface(&[message], index));
            }
        }
    }
}
