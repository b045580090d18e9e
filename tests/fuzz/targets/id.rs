//! What claims to be a connection's id.

#![no_main]

#[path = "../properties/id.rs"]
mod id;

libfuzzer_sys::fuzz_target!(|data: &[u8]| id::check(data));
