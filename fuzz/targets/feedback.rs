#![no_main]
#![allow(missing_docs)]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fleetcast_fuzz::feedback::run(bytes));
