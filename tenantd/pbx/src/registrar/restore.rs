//! What outlives a restart: bindings that were stored, and the doubt about those that ran out since.
//!
//! A refresh is stored only when it would pass the stored horizon. So a binding whose stored expiry
//! has passed may well be alive; its phone is asked (OPTIONS) before it is called.

use super::bindings::{Registered, Standing};
use super::change::Change;
use super::register::Registrar;
use crate::flow::{FlowId, Link};
use crate::id::{BindingId, UserId};
use crate::moment::Moment;
use crate::record::Binding;
use crate::sip::nat::{self, Reach};
use crate::story::Unregistered;
use crate::tenant::directory::Directory;

impl Registrar {
    /// Takes back what was stored; `is_open` says which connections may still be there. Rows that
    /// are of no use any more are told, to be removed.
    pub fn restore(
        &mut self,
        now: Moment,
        directory: &Directory,
        mut stored: Vec<Binding>,
        is_open: impl Fn(FlowId) -> bool,
    ) -> Vec<Change> {
        stored.sort_by_key(|binding| binding.id);
        let mut gone = Vec::new();
        for binding in stored {
            if !directory.users.contains_key(&binding.user) {
                gone.push(Change::Removed(Box::new(binding), Unregistered::Removed));
            } else if binding.horizon.max(binding.expires_at) <= now {
                gone.push(Change::Removed(Box::new(binding), Unregistered::Expired));
            } else {
                let standing = match binding.path.stream() {
                    Some(stream) if !is_open(stream) => Standing::Dormant,
                    Some(_) | None if binding.expires_at <= now => Standing::Doubtful,
                    Some(_) | None => Standing::Reachable,
                };
                let reach = reach_of(&binding);
                self.bindings.insert(binding, standing, reach);
            }
        }
        gone
    }

    /// The configuration was published: bindings of extensions that are gone, or that may not have
    /// so many phones any more, end.
    pub fn configure(&mut self, now: Moment, directory: &Directory) -> Vec<Change> {
        let mut users: Vec<UserId> =
            self.bindings.iter().map(|registered| registered.binding.user).collect();
        users.dedup();
        let mut gone = Vec::new();
        for id in users {
            if let Some(user) = directory.users.get(&id) {
                let room = usize::from(user.max_contacts.max(1));
                gone.extend(self.make_room(now, id, &[], room));
                continue;
            }
            let theirs: Vec<BindingId> =
                self.bindings.of(id).map(|registered| registered.binding.id).collect();
            let removed = theirs
                .into_iter()
                .filter_map(|binding| self.remove(id, binding, Unregistered::Removed));
            gone.extend(removed);
        }
        gone
    }

    /// Bindings to be probed.
    pub fn doubtful(&self) -> impl Iterator<Item = &Binding> {
        self.bindings.iter().filter_map(|registered| match registered.standing {
            Standing::Doubtful => Some(&registered.binding),
            Standing::Reachable | Standing::Dormant | Standing::Silent => None,
        })
    }

    /// A connection is gone: phones that came over it are not called until they are back. They are
    /// the answer.
    pub fn lose(&mut self, stream: FlowId) -> Vec<Binding> {
        let lost: Vec<(UserId, BindingId)> = self
            .bindings
            .iter()
            .filter(|registered| registered.binding.path.stream() == Some(stream))
            .map(|registered| (registered.binding.user, registered.binding.id))
            .collect();
        let lose = |registered: &mut Registered| {
            registered.standing = Standing::Dormant;
            registered.binding.clone()
        };
        lost.into_iter().filter_map(|(user, id)| self.bindings.change(user, id, lose)).collect()
    }

    /// The phone answered its probe: it is reachable as long as a refresh that was not stored can
    /// have lasted. `None`: it came or went by itself meanwhile.
    pub fn confirm(&mut self, user: UserId, id: BindingId) -> Option<&Binding> {
        self.bindings.change(user, id, |registered| match registered.standing {
            Standing::Doubtful => {
                registered.standing = Standing::Reachable;
                registered.binding.expires_at = registered.binding.horizon;
                Some(())
            }
            Standing::Reachable | Standing::Dormant | Standing::Silent => None,
        })??;
        self.bindings.find(user, id).map(|registered: &Registered| &registered.binding)
    }

    /// The phone did not answer its probe. A phone that came back meanwhile stays.
    pub fn give_up(&mut self, user: UserId, id: BindingId) -> Option<Change> {
        match self.bindings.find(user, id)?.standing {
            Standing::Doubtful => self.remove(user, id, Unregistered::Expired),
            Standing::Reachable | Standing::Dormant | Standing::Silent => None,
        }
    }

    /// The phone answers no more. `None`: it was not believed to be there anyway.
    pub fn fall_silent(&mut self, user: UserId, id: BindingId) -> Option<&Binding> {
        self.turn(user, id, Standing::Reachable, Standing::Silent)
    }

    /// The phone answers again.
    pub fn speak_again(&mut self, user: UserId, id: BindingId) -> Option<&Binding> {
        self.turn(user, id, Standing::Silent, Standing::Reachable)
    }

    fn turn(
        &mut self,
        user: UserId,
        id: BindingId,
        from: Standing,
        to: Standing,
    ) -> Option<&Binding> {
        self.bindings.change(user, id, |registered| {
            (registered.standing == from).then(|| registered.standing = to)
        })??;
        self.bindings.find(user, id).map(|registered| &registered.binding)
    }

    /// Who keeps this phone's way open from now on.
    pub fn keep(&mut self, user: UserId, id: BindingId, by: u32) {
        self.bindings.change(user, id, |registered| registered.kept_by = Some(by));
    }

    /// A request of the phone showed what its router does. `None`: that was known, or nobody is there.
    pub fn meddle(&mut self, user: UserId, id: BindingId, alg: &str) -> Option<Change> {
        self.bindings.change(user, id, |registered| match registered.binding.alg {
            Some(_) => None,
            None => {
                registered.binding.alg = Some(alg.into());
                registered.reach = Reach::BehindNat;
                Some(Change::Prolonged(Box::new(registered.binding.clone())))
            }
        })?
    }
}

/// Of what was seen of a router, the Contact and its damage are stored.
fn reach_of(binding: &Binding) -> Reach {
    match binding.path.link {
        Link::Udp if binding.alg.is_some() => Reach::BehindNat,
        Link::Udp if binding.route.is_empty() => nat::reach_of(&binding.contact, binding.path.peer),
        Link::Udp | Link::Stream { .. } => Reach::Direct,
    }
}
