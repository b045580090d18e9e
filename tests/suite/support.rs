//! Real servers and other furniture of the tests.

pub mod postgres;
