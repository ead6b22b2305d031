//! The fleetcast sender. Data flows down this list:
//!
//! [`image`] (mapped) → [`precompute`] (slots filled ahead by workers) → [`pace`] (absolute schedule) → [`transmit`]
//! (one file a backend); [`send`] joins them. [`keygen`], [`seal`](mod@seal) and [`inspect`] are for where releases are made.

pub mod affinity;
pub mod args;
pub mod control;
pub mod ethernet;
pub mod feedback;
#[cfg(feature = "serve")]
pub mod fleet_report;
pub mod image;
pub mod inspect;
pub mod interface;
pub mod keygen;
pub mod pace;
pub mod precompute;
pub mod qdisc;
pub mod rate;
pub mod report;
pub mod seal;
pub mod send;
#[cfg(feature = "serve")]
pub mod serve;
pub mod transmit;
