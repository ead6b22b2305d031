//! Both sessions in a simulated world, for tests, fuzzing and benches: no I/O, no clock, and everything follows from a
//! seed.
//!
//! ```text
//! Release ──► Transmission ──► Path ──► Receiver
//! (image and   (the sender      (loss,    (the receiver session, a model of
//!  manifest)    session and      bursts,   staging, real decoding)
//!               real encoding)   order …)
//! ```
//!
//! The sessions and the codec are the real ones; what is simulated is time, the network and the disk. [`Receiver`] checks
//! what any driver of a session relies on (nothing is written outside the layout, a block under check or verified is not
//! written to, every packet is counted once) and panics when it does not hold.

mod disk;
pub mod fleet;
mod path;
mod receiver;
mod release;
mod seeds;
mod staging;
mod transmission;

pub use crate::random::Random;
pub use disk::Disk;
pub use path::{Loss, Path, PathConfig};
pub use receiver::Receiver;
pub use release::{Release, device, image, release_key};
pub use seeds::run_seeds;
pub use staging::Staging;
pub use transmission::{Sent, Transmission, sender_config};
