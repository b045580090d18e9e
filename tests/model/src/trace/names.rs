//! Real names as the model's small numbers, and back.

use std::collections::HashMap;

use crate::{
    ids::{Device, Epoch, Mid, Number, Partition, User},
    redis::Tag,
};

/// One kind of name.
#[derive(Default)]
struct Table {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
}

impl Table {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }
}

/// Every name seen so far.
#[derive(Default)]
pub struct Names {
    epochs: Table,
    users: Table,
    devices: Table,
    numbers: Table,
    mids: Table,
    partitions: Table,
}

/// What a key of the schema is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// `{wK}:u:<uh>`
    Entries(User),
    /// `{wK}:q:<uh>`
    Mailbox(User),
    /// `{wK}:r:<uh>`
    Marker(User),
    /// `{wK}:o:<epoch>`
    Index(Partition, Epoch),
    /// `{wK}:b`
    Seen(Partition),
    /// `{m}:hb`
    Members,
    /// `{m}:dead`
    Dead,
    /// Not modelled.
    Other,
}

impl Names {
    pub fn epoch(&mut self, name: &str) -> Epoch {
        Epoch(self.epochs.number(name))
    }

    pub fn user(&mut self, name: &str) -> User {
        User(self.users.number(name))
    }

    pub fn device(&mut self, name: &str) -> Device {
        Device(self.devices.number(name))
    }

    pub fn mid(&mut self, name: &str) -> Mid {
        Mid(self.mids.number(name))
    }

    /// Processes count alike: a connection is told by its device and its number.
    pub fn number(&mut self, device: &str, number: &str) -> Number {
        Number(self.numbers.number(&format!("{device} {number}")))
    }

    /// `@<epoch>.<number>.<since>` of a device.
    pub fn tag(&mut self, device: &str, tag: &str) -> Option<Tag> {
        let mut parts = tag.strip_prefix('@')?.split('.');
        let epoch = self.epoch(parts.next()?);
        let number = self.number(device, parts.next()?);
        Some(Tag { epoch, number, since: parts.next()?.parse().ok()? })
    }

    /// Reads a key: `<prefix>:{tag}:kind:name`; answers the partition too.
    pub fn key(&mut self, key: &str) -> (Key, Partition) {
        let parsed = key.split_once('{').and_then(|(_, rest)| rest.split_once("}:"));
        let Some((tag, rest)) = parsed else { return (Key::Other, Partition(0)) };
        if tag == "m" {
            let key = match rest {
                "hb" => Key::Members,
                "dead" => Key::Dead,
                _ => Key::Other,
            };
            return (key, Partition(0));
        }
        let partition = Partition(self.partitions.number(tag));
        let key = match rest.split_once(':') {
            Some(("u", user)) => Key::Entries(self.user(user)),
            Some(("q", user)) => Key::Mailbox(self.user(user)),
            Some(("r", user)) => Key::Marker(self.user(user)),
            Some(("o", epoch)) => Key::Index(partition, self.epoch(epoch)),
            None if rest == "b" => Key::Seen(partition),
            _ => Key::Other,
        };
        (key, partition)
    }

    /// What a user is called.
    pub fn user_name(&self, user: User) -> &str {
        &self.users.names[user.0 as usize]
    }

    /// What a device is called.
    pub fn device_name(&self, device: Device) -> &str {
        &self.devices.names[device.0 as usize]
    }

    /// What an epoch is called.
    pub fn epoch_name(&self, epoch: Epoch) -> &str {
        &self.epochs.names[epoch.0 as usize]
    }
}
