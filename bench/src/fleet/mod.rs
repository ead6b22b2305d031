//! A fleet on a live stream: one sender process, a few receiver processes, and an emulator of thousands beside them.

pub mod result;
