//! What a client says in a text message.

#![no_main]

#[path = "../properties/classic.rs"]
mod classic;

libfuzzer_sys::fuzz_target!(|data: &[u8]| classic::check(data));
