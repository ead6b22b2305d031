//! The fleetcast receiver. Data flows down this list:
//!
//! [`filter`] (whose packets come in) → [`ingest`] (membership, packets) → the session of `fleetcast_protocol` → [`staging`] (symbols in their places) →
//! [`checker`] (decode, hash) → [`medium`] (sync, [`read_back`] of the whole image) → [`apply`](mod@apply) (the verified image becomes the installed one); [`receive`](mod@receive)
//! joins them, [`repair`] fetches what multicast does not bring, [`fleet_report`] tells the sender, [`state`] remembers across restarts.

pub mod apply;
pub mod args;
pub mod checker;
pub mod filter;
pub mod fleet_report;
pub mod ingest;
pub mod journal;
pub mod medium;
pub mod read_back;
pub mod receive;
pub mod repair;
pub mod report;
pub mod restore;
pub mod staging;
pub mod state;
mod wake;
