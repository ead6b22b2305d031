//! What `fleetcast-send` and `fleetcast-recv` share towards the operator: how they take numbers with units and key
//! files, how they tell events, how they stop and with which exit code. Nothing of the protocol, nothing on the packet path.
#![forbid(unsafe_code)]

pub mod events;
pub mod exit;
pub mod keys;
pub mod stop;
pub mod units;
pub mod usage;
