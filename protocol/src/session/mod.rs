//! The two sessions as pure state machines, and the order of symbols that they share.

mod budget;
mod interleave;
mod profile;
mod repair;
mod schedule;

pub mod receiver;
pub mod sender;

pub use interleave::Interleave;
pub use profile::{DEFAULT_WINDOW_BLOCKS, Profile, UnknownProfile};
pub use repair::{RepairShare, floor_for_small_block};
pub use schedule::{Pass, Schedule, SymbolId, Window};
