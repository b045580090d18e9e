//! member: join, beat, leave, kill.

use super::Redis;
use crate::{
    ids::Epoch,
    map::{Map, Set},
    rules::{Bug, Rules},
};

impl Redis {
    /// `join`
    pub fn join(&mut self, epoch: Epoch) {
        if !self.members.has(epoch) {
            self.members.set(epoch, 0);
        }
    }

    /// `beat`: `None` is FENCED, otherwise the members and the dead.
    ///
    /// The counter is only counted when somebody compares it: nobody sees the difference, and
    /// there are fewer states.
    pub fn beat(
        &mut self,
        epoch: Epoch,
        is_compared: bool,
    ) -> Option<(Map<Epoch, u64>, Set<Epoch>)> {
        *self.members.get_mut(epoch)? += u64::from(is_compared);
        Some((self.members.clone(), self.dead.clone()))
    }

    /// `leave`
    pub fn leave(&mut self, epoch: Epoch) {
        self.members.take(epoch);
    }

    /// `kill`: whether it was killed.
    pub fn kill(&mut self, rules: &Rules, epoch: Epoch, counter: u64) -> bool {
        let Some(now) = self.members.get(epoch).copied() else { return false };
        if now != counter {
            if !rules.has(Bug::KillWithoutCompare) {
                return false;
            }
            self.broken.living_killed = true;
        }
        self.members.take(epoch);
        self.dead.add(epoch);
        true
    }
}
