//! What bounds are made of: a rate, a number of places, a word about a bound that was reached.
//!
//! Several modules bound what the outside may ask of them; all of it can be changed while
//! connections are open, and none of it may cost more than what it keeps away.

mod places;
mod rate;
mod reached;

pub use self::{
    places::{Place, Places},
    rate::{Bucket, Rate, SharedBucket},
    reached::{Reached, Reporter, Subject},
};
