//! How a binding is told in the answer to a REGISTER.
//!
//! RFC 3261 §10.3 (8), RFC 5626 §6.

use std::fmt;
use std::time::Duration;

use super::register::Registrar;
use crate::id::UserId;
use crate::moment::Moment;
use crate::record::Binding;
use crate::sip::address::Quoted;

/// A binding as a Contact header value.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    binding: &'a Binding,
    now: Moment,
}

impl Registrar {
    /// What the answer to a REGISTER of `user` lists: all that is registered, whoever asked.
    pub fn listed(&self, now: Moment, user: UserId) -> impl Iterator<Item = Listed<'_>> {
        self.contacts_of(now, user).map(move |binding| Listed { binding, now })
    }
}

impl Listed<'_> {
    /// Whole seconds that are left, rounded up: zero would mean a removal.
    pub fn expires(&self) -> u64 {
        let left = self.binding.expires_at - self.now;
        (left + Duration::from_secs(1) - Duration::from_micros(1)).as_secs()
    }
}

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binding = self.binding;
        write!(f, "<{}>;expires={}", binding.contact, self.expires())?;
        if let Some(thousandths) = Some(binding.q).filter(|q| *q < 1_000) {
            write!(f, ";q=0.{thousandths:03}")?;
        }
        if let Some(instance) = &binding.instance {
            write!(f, ";+sip.instance={}", Quoted(instance))?;
        }
        match binding.reg_id {
            Some(reg_id) => write!(f, ";reg-id={reg_id}"),
            None => Ok(()),
        }
    }
}
