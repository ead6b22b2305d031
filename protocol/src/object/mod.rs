//! Small objects: the FDT, the signed manifest, the announcement. Ours are sent without FEC; other senders code their FDT
//! with RaptorQ.
//!
//! They take one to a few dozen symbols and are repeated every second or so, so a receiver that missed a symbol gets it
//! with the next repetition. Anyone who can reach the group can forge such a packet: the assemblers bound what a
//! forgery can cost, the caller decides whether the content is genuine.

mod coded;
mod no_code;
mod recent;

pub use coded::CodedAssembler;
pub use no_code::{NoCodeObject, ObjectAssembler, ObjectError};
pub(crate) use recent::Recent;
