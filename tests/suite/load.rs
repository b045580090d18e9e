//! Thousands of clients, most of them up to no good, and what the others notice.

mod churn;
mod leaving;
mod slowloris;
