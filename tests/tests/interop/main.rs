//! Our packets, manifests and receiver against other people's implementations: the crates `flute` and `rmt-flute`,
//! Wireshark's dissectors, and openssl.

mod content;
mod flute_receiver;
mod flute_sender;
mod flute_sends;
mod flute_takes;
mod headers;
mod signature;
mod stream;
mod unsigned_receiver;
mod wireshark;
