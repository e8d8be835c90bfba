#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| umach_fuzz::description::run(data));
