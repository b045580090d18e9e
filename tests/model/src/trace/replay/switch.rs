//! Another server, or the same with another memory, as the model's loss of what Redis held.

use super::Replay;
use crate::trace::{
    monitor::{Loss, Step},
    standing::Standing,
};

/// The next server, and when the present one held the same.
pub(super) struct Ahead {
    standing: Standing,
    /// Behind which step, the last of them.
    stood_behind: Option<usize>,
    /// What differed when the two were compared last.
    differs: &'static str,
}

impl Replay {
    /// Looks what the next server will hold: only while the present one is replayed can be seen
    /// whether that ever stood there.
    pub(super) fn look_ahead(&mut self, steps: &[Step]) -> Result<(), String> {
        self.ahead = None;
        let Some(switch) = steps.iter().find(|step| step.loss.is_some()) else { return Ok(()) };
        let standing = Standing::read(&switch.args, switch.at, &mut self.names)?;
        self.ahead = Some(Ahead { standing, stood_behind: None, differs: "" });
        self.compare_ahead();
        Ok(())
    }

    /// Notes whether the next server holds what stands here now.
    pub(super) fn compare_ahead(&mut self) {
        let Some(ahead) = &mut self.ahead else { return };
        match ahead.standing.differs(&self.mirror, &self.marker_ends) {
            Some(what) => ahead.differs = what,
            None => ahead.stood_behind = Some(self.number),
        }
    }

    /// The model's `fall_back`, if a server that loses no more than `loss` may hold what the next
    /// one holds.
    pub(super) fn switch(&mut self, loss: Loss) -> Result<(), String> {
        let ahead = self.ahead.take().ok_or("nobody has looked ahead")?;
        let lost = ahead.lost(loss, self.number - 1)?;
        self.counts.switch();
        self.counts.add("switch");
        self.counts.add_so_many("lost", lost as u64);
        let Standing { redis, marker_ends, .. } = ahead.standing;
        let members = self.model.members.keys();
        self.ended.extend(members.filter(|epoch| !redis.members.has(*epoch)));
        self.model.fall_back(redis.clone());
        self.mirror.fall_back(redis);
        self.marker_ends = marker_ends;
        // Who still speaks to the server before has been recorded before.
        self.last_since = 0;
        Ok(())
    }
}

impl Ahead {
    /// How many steps of all up to `last` the server has lost.
    fn lost(&self, loss: Loss, last: usize) -> Result<usize, String> {
        if loss == Loss::Everything {
            let is_empty = self.standing.is_empty();
            return is_empty.then_some(0).ok_or_else(|| "it holds something already".to_owned());
        }
        let Some(behind) = self.stood_behind else {
            let what = self.differs;
            return Err(format!("what it holds never stood before: at last the {what} differ"));
        };
        match (loss, last - behind) {
            (Loss::Nothing, 1..) => {
                Err(format!("it has lost what was done last: {}", self.differs))
            }
            (_, lost) => Ok(lost),
        }
    }
}
