//! Since when what is published for this instance has been heard.

use crate::ids::Epoch;

/// What is heard now. Each time a partition is heard anew it gets a higher number: what was said in
/// it before may have been missed, and must be learnt otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listening {
    epoch: Option<Epoch>,
    /// For each inbox the number it was heard anew with; 0: not heard now.
    since: Vec<u64>,
    latest: u64,
}

impl Listening {
    /// Whether everything that is published for `epoch` is heard.
    pub fn hears_all(&self, epoch: Epoch) -> bool {
        self.epoch == Some(epoch) && self.since.iter().all(|since| *since > 0)
    }

    /// Whether what concerns users of `partition` is heard, and not since `number` or before.
    pub fn hears_anew(&self, epoch: Epoch, partition: u16, number: u64) -> bool {
        let place = usize::from(partition) % self.since.len().max(1);
        let since = self.since.get(place).copied().unwrap_or_default();
        self.epoch == Some(epoch) && since > number
    }

    /// The highest number given so far.
    pub fn latest(&self) -> u64 {
        self.latest
    }

    pub(super) fn begin(&mut self, epoch: Epoch, inboxes: u16) {
        self.epoch = Some(epoch);
        self.since = vec![0; usize::from(inboxes)];
    }

    pub(super) fn hears(&mut self, place: u16) {
        self.latest += 1;
        self.set(place, self.latest);
    }

    pub(super) fn is_deaf(&mut self, place: u16) {
        self.set(place, 0);
    }

    fn set(&mut self, place: u16, number: u64) {
        if let Some(since) = self.since.get_mut(usize::from(place)) {
            *since = number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_heard_anew_has_a_higher_number() {
        let (me, mut all) = (Epoch::random(), Listening::default());
        assert!(!all.hears_all(me) || all.hears_all(Epoch::random()));
        all.begin(me, 2);
        all.hears(0);
        assert!(!all.hears_all(me) && all.hears_anew(me, 0, 0) && !all.hears_anew(me, 1, 0));
        all.hears(1);
        assert!(all.hears_all(me));
        let before = all.latest();
        assert!(!all.hears_anew(me, 0, before) && !all.hears_anew(me, 1, before));
        all.is_deaf(1);
        assert!(!all.hears_all(me));
        all.hears(1);
        assert!(!all.hears_anew(me, 0, before) && all.hears_anew(me, 1, before));
    }

    #[test]
    fn one_inbox_stands_for_every_partition() {
        let (me, mut all) = (Epoch::random(), Listening::default());
        all.begin(me, 1);
        all.hears(0);
        assert!((0..256).all(|partition| all.hears_anew(me, partition, 0)));
        assert!(!all.hears_anew(Epoch::random(), 0, 0));
    }
}
