//! How phones encrypt when they call: so they are called back.
//!
//! RFC 3264 knows no way to ask beforehand. Only phones that demand encryption are noted; after a
//! restart they are learnt again, and until then a phone may refuse once (`pact`).

use std::collections::BTreeMap;

use crate::id::BindingId;
use crate::sip::sdp::Manner;

/// Phones of one company that are remembered; at the limit the oldest registration is forgotten.
const MOST: usize = 10_000;

/// How the phones of a company encrypt.
#[derive(Debug, Default)]
pub struct Shown(BTreeMap<BindingId, Manner>);

impl Shown {
    /// How this phone did.
    pub fn of(&self, binding: BindingId) -> Option<Manner> {
        self.0.get(&binding).copied()
    }

    /// Notes how it does.
    pub fn note(&mut self, binding: BindingId, manner: Manner) {
        if !manner.demands() {
            self.0.remove(&binding);
            return;
        }
        self.0.insert(binding, manner);
        if self.0.len() > MOST {
            self.0.pop_first(); // ids made earlier sort first
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::sdp::Profile;

    #[test]
    fn only_who_demands_encryption_is_remembered_and_not_for_ever() {
        let phone = |number: u128| BindingId(uuid::Uuid::from_u128(number));
        let mut shown = Shown::default();
        shown.note(phone(1), Manner::Sdes(Profile::Savp));
        shown.note(phone(2), Manner::Opportune);
        assert_eq!(shown.of(phone(1)), Some(Manner::Sdes(Profile::Savp)));
        assert_eq!(shown.of(phone(2)), None);
        shown.note(phone(1), Manner::Plain);
        assert_eq!(shown.of(phone(1)), None);
        for number in 0..=MOST as u128 {
            shown.note(phone(number), Manner::Sdes(Profile::Savp));
        }
        assert_eq!((shown.of(phone(0)), shown.0.len()), (None, MOST));
        assert!(shown.of(phone(MOST as u128)).is_some());
    }
}
