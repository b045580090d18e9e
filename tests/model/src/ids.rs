//! The names things carry, as small numbers.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta] $name:ident $letter:literal),+ $(,)?) => {
        $(
            #[$doc]
            #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
            pub struct $name(pub u32);

            impl fmt::Debug for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    write!(f, concat!($letter, "{}"), self.0)
                }
            }
        )+
    };
}

id! {
    /// A daemon's process; a new one in the place of a crashed one has the same.
    InstanceId "i",
    /// One life of an instance in the fleet.
    Epoch "e",
    /// A user.
    User "u",
    /// What a user connects with.
    Device "d",
    /// A connection.
    Number "c",
    /// A message.
    Mid "m",
    /// A slot of users that a script can write in one step.
    Partition "p",
}
