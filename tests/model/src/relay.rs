//! Envelopes between instances (`src/relay`): batched out, taken one by one, never relayed again.

use crate::{
    envelope::{Envelope, Letter},
    ids::{Device, Epoch, InstanceId, User},
    instance::{Instance, Payload, Returned},
    redis::Tag,
    rules::{Bug, Rules},
    world::World,
};

impl World {
    /// The writer publishes what waits in a lane, and learns whether anybody listens.
    pub fn publish(&mut self, rules: &Rules, at: InstanceId, to: Epoch) {
        let instance = self.instance(at);
        let mut envelopes = instance.lanes.take(to).unwrap_or_default();
        let told = instance.told.take(to).unwrap_or_default();
        let said = envelopes.iter().filter_map(|envelope| match envelope {
            Envelope::Deliver(letter) => Some(letter.clone()),
            _ => None,
        });
        let letters: Vec<_> = told.into_iter().chain(said).collect();
        let is_asked = rules.confirms && !letters.is_empty();
        let number = is_asked.then(|| instance.seal(&mut envelopes));
        let is_heard = self.redis().publish(to, envelopes);
        let instance = self.instance(at);
        if !is_heard {
            instance.deaf.add(to);
            if !rules.has(Bug::SiblingForgottenLate) {
                letters.iter().for_each(|letter| instance.remove_sibling(letter.user, to));
            }
            let unheard = letters.into_iter().map(|letter| Returned::Unheard(to, letter));
            return instance.returns.extend(unheard);
        }
        instance.deaf.remove(to);
        if let Some(number) = number {
            instance.unconfirmed.or_default(to).push(Payload { number, letters });
        }
    }

    /// Redis does not answer the writer: it is not known who heard it, so it is not said again.
    pub fn lose_lane(&mut self, at: InstanceId, to: Epoch) {
        let instance = self.instance(at);
        instance.told.take(to);
        let envelopes = instance.lanes.take(to).unwrap_or_default();
        let mids = envelopes.iter().filter_map(Envelope::mid);
        self.lose(&mids.collect::<Vec<_>>());
    }

    /// The reader takes the next envelope out of its inbox.
    pub fn take(&mut self, rules: &Rules, at: InstanceId) {
        let Some(epoch) = self.peek(at).listening else { return };
        let inbox = self.redis().inboxes.get_mut(epoch);
        let Some(inbox) = inbox.filter(|inbox| !inbox.is_empty()) else { return };
        let envelope = inbox.remove(0);
        let instance = self.instance(at);
        match envelope {
            Envelope::Deliver(letter) => instance.take_letter(rules, epoch, letter),
            Envelope::NotMine(letter) => {
                if !rules.has(Bug::SiblingForgottenLate) {
                    instance.remove_sibling(letter.user, letter.from);
                }
                instance.returns.push(Returned::NotMine(letter));
            }
            Envelope::AlsoOwned(letter) => instance.returns.push(Returned::AlsoOwned(letter)),
            Envelope::OwnerAdded(user, _) | Envelope::OwnerGone(user, _)
                if rules.has(Bug::OwnerForgetsSiblings) =>
            {
                instance.siblings.take(user);
            }
            Envelope::OwnerAdded(user, owner) => instance.add_sibling(user, owner),
            Envelope::OwnerGone(user, owner) => instance.remove_sibling(user, owner),
            Envelope::Displaced(user, device, tag) => instance.displace(rules, user, device, tag),
            Envelope::Confirm(peer, number) => {
                let me = instance.epoch;
                instance.lane(peer, Envelope::Confirmed(me, number));
            }
            Envelope::Confirmed(peer, number) => instance.confirm(peer, number),
        }
    }
}

impl Instance {
    fn take_letter(&mut self, rules: &Rules, epoch: Epoch, mut letter: Letter) {
        let local = self.deliver(letter.user, letter.mid, true, &letter.epochs);
        let back = std::mem::replace(&mut letter.from, epoch);
        if !local.known {
            if !rules.has(Bug::NotMineUnsaid) {
                self.lane(back, Envelope::NotMine(letter));
            }
            return;
        }
        if local.had && !rules.has(Bug::CopiesAnswered) {
            return;
        }
        let forgotten = rules.has(Bug::SenderNotNamed).then_some(back);
        let unnamed = |sibling: &Epoch| !letter.epochs.has(*sibling) && forgotten != Some(*sibling);
        let missing = local.siblings.keys().filter(unnamed).collect::<crate::map::Set<_>>();
        if !missing.is_empty() {
            letter.epochs = missing;
            self.lane(back, Envelope::AlsoOwned(letter));
        }
    }

    /// Acts only where user, device and tag all match; who is still being claimed learns its tag
    /// later, and looks at this then.
    fn displace(&mut self, rules: &Rules, user: User, device: Device, tag: Tag) {
        let Some(one) = self.connections.get_mut(tag.number) else { return };
        if one.user != user || one.device != device {
            return;
        }
        if one.registration.is_none() && !rules.has(Bug::DisplacedWhileClaiming) {
            one.displaced = Some(tag);
        }
        one.ordered |= one.registration == Some((tag.epoch, tag.since));
    }
}
