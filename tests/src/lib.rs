//! The network lab that fleetcast's tests, demo and benches share, and nothing that ships.
//!
//! A [`lab::Lab`] is a sender, a snooping bridge and receivers, each in a network namespace of its own, joined by veth
//! pairs: real kernels, real sockets, real multicast, and no packet ever leaves the namespaces. [`loss`] drops packets at
//! a receiver's veth by a keyed hash, so that a run can be repeated and foretold. [`process`] runs the real binaries
//! inside, [`fleet`] knows their command lines, and [`demo`] puts all of it together.
//!
//! Namespaces need root. [`root::check`] says what is missing, and [`lab_or_skip!`] lets a test say so and return. Labs
//! run one at a time on a machine ([`lock`]), and first remove what a killed run left behind ([`sweep`]).

pub mod binaries;
pub mod bridge;
pub mod capture;
pub mod command;
pub mod demo;
pub mod error;
pub mod fleet;
pub mod image;
pub mod interrupt;
pub mod lab;
pub mod link;
pub mod lock;
pub mod loss;
pub mod loss_program;
pub mod mount;
pub mod namespace;
pub mod pair;
pub mod process;
pub mod release;
pub mod root;
pub mod routed;
pub mod router;
pub mod scratch;
pub mod sink;
pub mod sweep;
pub mod web;

pub use error::LabError;
