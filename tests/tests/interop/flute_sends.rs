//! Our receiver takes what the crate `flute` sends.
