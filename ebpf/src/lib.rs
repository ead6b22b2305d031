//! The XDP source filter of a receiver: the program (`filter.bpf.c`, compiled and committed by `scripts/bpf`), and what
//! loads, attaches and reads it.
//!
//! [`channel`] says what is guarded, [`program`] loads, [`filter`] attaches to an [`interface`] and guards, [`counters`] and
//! [`sample`] say what it did, [`status`](mod@status) finds the filters that are at work.
//!
//! Why XDP: a packet from a wrong source costs the kernel some hundred nanoseconds until the socket's own source filter drops
//! it, and a fraction of that here. Natively only: in generic mode the kernel has built its packet first, which is most of the
//! cost, and hands over super-packets of up to 64 KiB, whose later datagrams nobody has looked at.

pub mod channel;
pub mod counters;
pub mod error;
pub mod filter;
pub mod interface;
mod maps;
pub mod program;
pub mod sample;
pub mod status;

pub use channel::{Channel, Holder};
pub use counters::{Counters, Verdict};
pub use error::FilterError;
pub use filter::Filter;
pub use program::Program;
pub use sample::Sample;
pub use status::{Status, status};
