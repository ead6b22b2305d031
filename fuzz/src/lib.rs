//! Everything that reads untrusted bytes, as functions of bytes that panic when a promise is broken.
//!
//! Each module is one target: `run` takes the fuzzer's bytes, gives them to the code under test, and checks what comes
//! out: no panic, what was read can be written and reads the same, memory stays bounded. `scripts/fuzz` runs them under
//! libFuzzer; the test `corpus` of the main workspace replays `seeds/`, which has real inputs and every crash ever found.

pub mod announcement;
pub mod coded_object;
pub mod content_range;
pub mod fdt;
pub mod fec_decode;
pub mod feedback;
mod input;
pub mod journal;
pub mod keys;
pub mod manifest;
mod memory;
pub mod object;
pub mod packet;
pub mod report;
pub mod sdp;
pub mod session;

/// One fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: of the binary and of its folder in `seeds/`.
    pub name: &'static str,
    /// Its entry function.
    pub run: fn(&[u8]),
}

/// All targets, by name.
pub const TARGETS: &[Target] = &[
    Target { name: "announcement", run: announcement::run },
    Target { name: "coded_object", run: coded_object::run },
    Target { name: "content_range", run: content_range::run },
    Target { name: "fdt", run: fdt::run },
    Target { name: "fec_decode", run: fec_decode::run },
    Target { name: "feedback", run: feedback::run },
    Target { name: "journal", run: journal::run },
    Target { name: "keys", run: keys::run },
    Target { name: "manifest", run: manifest::run },
    Target { name: "object", run: object::run },
    Target { name: "packet", run: packet::run },
    Target { name: "report", run: report::run },
    Target { name: "sdp", run: sdp::run },
    Target { name: "session", run: session::run },
];
