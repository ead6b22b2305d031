//! What both ends of a fleetcast session agree on, with no I/O and no clock.
//!
//! Data flows down this list: bytes are parsed by [`wire`], small objects are put together by [`object`], and the
//! sessions decide what happens next. Everything here reads untrusted bytes, so every parser is bounded, returns a
//! typed error, and never panics.
#![forbid(unsafe_code)]

pub mod announcement;
mod cbor;
pub mod channel;
pub mod fdt;
pub mod feedback;
pub mod fleet;
pub mod hex;
pub mod keys;
pub mod manifest;
pub mod object;
pub mod partition;
pub mod policy;
pub mod random;
pub mod sdp;
pub mod session;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
pub mod wire;
