//! The integration suite: one binary, a module per subject. A new test goes to the module of
//! what it proves; what several need goes to `support`.

mod support;
mod users;
