//! The one source of wall time.
pub fn micros() -> u64 { 
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
}
