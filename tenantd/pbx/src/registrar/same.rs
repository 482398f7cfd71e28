//! Which of the known phones a REGISTER is about, though phones rarely say so as they should.
//!
//! RFC 3261 §10.3 (7) compares Contact URIs; RFC 5626 §6 compares instance and reg-id. Both are too
//! strict and too lax for what is in the field. Phones that restart come back with another Call-ID,
//! another port or another user in their Contact, and would leave a ghost that rings unheard. And
//! two phones in two homes may both call themselves `101@192.168.1.10:5060`, yet are two phones. So
//! a Contact is believed only together with what ties it to the phone: its Call-ID or its source.

use smallvec::SmallVec;

use super::ask::{Ask, AskedContact};
use crate::id::BindingId;
use crate::record::Binding;
use crate::sip::host::same_host;
use crate::sip::uri::Uri;

/// Why two are the same, the surest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    /// The phone says so (RFC 5626).
    Instance,
    /// The same Contact, registered in the same series of REGISTERs.
    ContactAndCall,
    /// The same Contact from the same source: the phone was started again.
    ContactAndSource,
    /// From the same source, with a Contact of the same user or the same place.
    Source,
    /// In the same series, for the same user: the phone's network changed.
    Call,
}

/// What is to happen to the binding that is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It is to stay, as this contact.
    Keep,
    /// It is to go: only what is surely meant. Phones that learn their public address register
    /// it and then remove their private one, which is no reason to remove both.
    Remove,
}

/// For each contact the binding it is about. The surest pairs are found first, and no binding is
/// claimed twice. A binding that is named twice, to stay and to go, stays.
pub(super) fn matched<'a>(
    ask: &Ask<'_>,
    contacts: &[(&AskedContact<'_>, Purpose)],
    known: impl Iterator<Item = &'a Binding>,
) -> SmallVec<[Option<BindingId>; 1]> {
    let mut pairs: SmallVec<[(Likeness, usize, BindingId); 4]> = SmallVec::new();
    for binding in known {
        for (at, (contact, purpose)) in contacts.iter().enumerate() {
            let likeness = likeness(ask, contact, *purpose, binding);
            pairs.extend(likeness.map(|likeness| (likeness, at, binding.id)));
        }
    }
    pairs.sort();
    let purpose = |at: usize| contacts.get(at).map(|(_, purpose)| *purpose);
    let mut found: SmallVec<[Option<BindingId>; 1]> = SmallVec::from_elem(None, contacts.len());
    for (_, at, id) in &pairs {
        if !found.contains(&Some(*id))
            && let Some(place @ None) = found.get_mut(*at)
        {
            *place = Some(*id);
        }
    }
    // A phone that removes its old place and names its new one in one REGISTER has moved: its calls
    // know it by this binding.
    for (_, at, id) in pairs {
        let removed = found.iter().position(|found| *found == Some(id));
        if let Some(removed) = removed.filter(|removed| purpose(*removed) == Some(Purpose::Remove))
            && purpose(at) == Some(Purpose::Keep)
            && found[at].is_none()
        {
            found.swap(at, removed);
        }
    }
    found
}

fn likeness(
    ask: &Ask<'_>,
    contact: &AskedContact<'_>,
    purpose: Purpose,
    binding: &Binding,
) -> Option<Likeness> {
    if let (Some(theirs), Some(known)) = (&contact.instance, &binding.instance) {
        let is_same = theirs.eq_ignore_ascii_case(known) && contact.reg_id == binding.reg_id;
        return is_same.then_some(Likeness::Instance);
    }
    let same_call = ask.call_id == binding.call_id;
    let same_source = ask.path == binding.path;
    if !same_call && !same_source {
        return None;
    }
    let (theirs, known) = (Uri::parse(contact.uri).ok()?, Uri::parse(&binding.contact).ok()?);
    if contact.uri == binding.contact || theirs.same_as(&known) {
        let surest = if same_call { Likeness::ContactAndCall } else { Likeness::ContactAndSource };
        return Some(surest);
    }
    let same_user = theirs.user.is_some() && theirs.user() == known.user();
    let same_place = same_host(theirs.host, known.host) && theirs.port == known.port;
    match purpose {
        Purpose::Keep if same_source && (same_user || same_place) => Some(Likeness::Source),
        Purpose::Keep if same_call && same_user => Some(Likeness::Call),
        Purpose::Keep | Purpose::Remove => None,
    }
}
