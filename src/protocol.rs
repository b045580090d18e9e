//! The words on the wire: their parsing and printing, and the table of close codes. No I/O.

pub mod classic;
pub mod close;
pub mod python_json;
