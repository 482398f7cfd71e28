//! Where a dialled number leads, and why: an extension, a group, a conference, another company, or nobody.
//!
//! RFC 3261 §16.5 calls it determining the target. Nothing is looked up outside: what a number means
//! follows from the tenant's own names and from the public numbers of all tenants.

use std::borrow::Cow;
use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::id::{AnnouncementId, ConferenceId, GroupId, TenantId, UserId};
use crate::tenant::directory::{Directory, Place};
use crate::tenant::identify::Speaker;
use crate::tenant::name::normalised;

/// Public numbers may lead to public numbers, but not for ever.
const MOST_STEPS: usize = 8;

/// Where a call goes, and how that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where it goes.
    pub to: Destination,
    /// What led there, in order.
    pub because: SmallVec<[Reason; 2]>,
}

/// Where a dialled number leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// An extension of the tenant.
    User(UserId),
    /// A ring group of the tenant.
    Group(GroupId),
    /// A conference of the tenant.
    Conference(ConferenceId),
    /// An announcement of the tenant.
    Announcement(AnnouncementId),
    /// Another tenant's public number.
    Elsewhere {
        /// Whose.
        tenant: TenantId,
        /// The number, as that tenant knows it.
        number: String,
    },
    /// Nobody has it: 404.
    Nobody,
}

/// One step of finding the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is the number or name of an extension.
    IsExtension,
    /// It is the number of a group.
    IsGroup,
    /// It is the number of a conference.
    IsConference,
    /// It is the number of an announcement.
    IsAnnouncement,
    /// It is one of the tenant's own public numbers, which rings there.
    IsOwnNumber {
        /// The public number.
        number: String,
        /// Where it rings.
        to: String,
    },
    /// It is another company's public number.
    IsElsewhere {
        /// The public number.
        number: String,
    },
    /// A caller from outside reaches public numbers only.
    NotPublic,
    /// Public numbers lead to each other in a circle.
    Circle,
    /// No extension, group or public number is called that.
    Unknown,
}

/// Finds where `dialled` (see [`crate::tenant::name::name_in`]) leads for `caller`; `everywhere` has
/// the public numbers of all tenants.
pub fn route(
    directory: &Directory,
    everywhere: &BTreeMap<String, TenantId>,
    caller: Speaker,
    dialled: &str,
) -> Route {
    let mut because = SmallVec::new();
    let to = match caller {
        Speaker::User(_) => from_inside(directory, everywhere, dialled, &mut because),
        Speaker::Elsewhere(_) => from_outside(directory, dialled, &mut because),
    };
    Route { to, because }
}

type Reasons = SmallVec<[Reason; 2]>;

fn from_inside(
    directory: &Directory,
    everywhere: &BTreeMap<String, TenantId>,
    dialled: &str,
    because: &mut Reasons,
) -> Destination {
    if let Some(found) = own(directory, dialled, because) {
        return found;
    }
    for name in spellings(dialled) {
        if let Some((number, tenant)) = everywhere.get_key_value(name.as_ref())
            && *tenant != directory.tenant
        {
            because.push(Reason::IsElsewhere { number: number.clone() });
            return Destination::Elsewhere { tenant: *tenant, number: number.clone() };
        }
    }
    because.push(Reason::Unknown);
    Destination::Nobody
}

fn from_outside(directory: &Directory, dialled: &str, because: &mut Reasons) -> Destination {
    let is_public = spellings(dialled).any(|name| directory.numbers.contains_key(name.as_ref()));
    if !is_public {
        let is_own = spellings(dialled).any(|name| directory.names.contains_key(name.as_ref()));
        because.push(if is_own { Reason::NotPublic } else { Reason::Unknown });
        return Destination::Nobody;
    }
    own_number(directory, dialled, because).unwrap_or_else(|| {
        because.push(Reason::Unknown);
        Destination::Nobody
    })
}

/// An own name, or an own public number followed to its end.
fn own(directory: &Directory, dialled: &str, because: &mut Reasons) -> Option<Destination> {
    let place = spellings(dialled).find_map(|name| directory.names.get(name.as_ref()));
    match place {
        Some(Place::User(user)) => {
            because.push(Reason::IsExtension);
            Some(Destination::User(*user))
        }
        Some(Place::Group(group)) => {
            because.push(Reason::IsGroup);
            Some(Destination::Group(*group))
        }
        Some(Place::Conference(conference)) => {
            because.push(Reason::IsConference);
            Some(Destination::Conference(*conference))
        }
        Some(Place::Announcement(announcement)) => {
            because.push(Reason::IsAnnouncement);
            Some(Destination::Announcement(*announcement))
        }
        None => own_number(directory, dialled, because),
    }
}

fn own_number(directory: &Directory, dialled: &str, because: &mut Reasons) -> Option<Destination> {
    let (number, to) =
        spellings(dialled).find_map(|name| directory.numbers.get_key_value(name.as_ref()))?;
    if because.len() >= MOST_STEPS {
        because.push(Reason::Circle);
        return Some(Destination::Nobody);
    }
    because.push(Reason::IsOwnNumber { number: number.clone(), to: to.clone() });
    own(directory, to, because).or_else(|| {
        because.push(Reason::Unknown);
        Some(Destination::Nobody)
    })
}

/// The name as it was dialled, then as a number without separators: `1.1` may be a user name.
fn spellings(dialled: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let number = match normalised(dialled) {
        Cow::Owned(number) => Some(Cow::Owned(number)),
        Cow::Borrowed(_) => None,
    };
    [Cow::Borrowed(dialled)].into_iter().chain(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::sample::{conference, directory, group, tenant, user};

    #[test]
    fn an_extension_is_reached_by_its_number_and_by_its_name() {
        for (dialled, number) in
            [("101", 101), ("klaus.darilion", 102), ("102", 102), ("1-0-1", 101)]
        {
            let route = from_101(&directory(), dialled);
            assert_eq!(route.to, Destination::User(user(number)), "{dialled}");
            assert_eq!(route.because.as_slice(), [Reason::IsExtension]);
        }
    }

    #[test]
    fn a_group_is_reached_by_its_number() {
        let route = from_101(&directory(), "600");
        assert_eq!(route.to, Destination::Group(group(600)));
        assert_eq!(route.because.as_slice(), [Reason::IsGroup]);
    }

    #[test]
    fn a_conference_is_reached_by_its_number_and_from_outside_by_a_public_one() {
        let mut acme = directory();
        let inside = from_101(&acme, "800");
        assert_eq!(inside.to, Destination::Conference(conference(800)));
        assert_eq!(inside.because.as_slice(), [Reason::IsConference]);
        let outside = |acme: &Directory, dialled| {
            route(acme, &everywhere(), Speaker::Elsewhere(tenant(2)), dialled).to
        };
        assert_eq!(outside(&acme, "800"), Destination::Nobody);
        acme.numbers.insert("+4312345".into(), "800".into());
        assert_eq!(outside(&acme, "+4312345"), Destination::Conference(conference(800)));
    }

    #[test]
    fn a_public_number_rings_where_it_leads() {
        let to_101 = Reason::IsOwnNumber { number: "+4312345".into(), to: "101".into() };
        let route = from_101(&directory(), "+43 (1) 2345");
        assert_eq!(route.to, Destination::User(user(101)));
        assert_eq!(route.because.as_slice(), [to_101, Reason::IsExtension]);
        assert_eq!(from_101(&directory(), "+4312346").to, Destination::Group(group(600)));
    }

    #[test]
    fn another_companys_number_leads_there() {
        let route = from_101(&directory(), "+49 30 99");
        let number = "+493099".to_owned();
        assert_eq!(route.to, Destination::Elsewhere { tenant: tenant(2), number: number.clone() });
        assert_eq!(route.because.as_slice(), [Reason::IsElsewhere { number }]);
    }

    #[test]
    fn an_own_name_goes_before_anybodys_public_number() {
        let mut acme = directory();
        acme.names.insert("+493099".into(), Place::User(user(103)));
        assert_eq!(from_101(&acme, "+493099").to, Destination::User(user(103)));
    }

    #[test]
    fn what_is_nobodys_leads_nowhere() {
        for dialled in ["999", "", "+4312347", "Klaus.Darilion", "493099", "+", "+4312348"] {
            let route = from_101(&directory(), dialled);
            assert_eq!(route.to, Destination::Nobody, "{dialled}");
            assert_eq!(route.because.as_slice(), [Reason::Unknown]);
        }
    }

    #[test]
    fn a_name_with_dots_is_tried_before_the_number_it_looks_like() {
        let mut acme = directory();
        acme.names.insert("1.01".into(), Place::User(user(103)));
        assert_eq!(from_101(&acme, "1.01").to, Destination::User(user(103)));
        assert_eq!(from_101(&acme, "10.1").to, Destination::User(user(101)));
    }

    #[test]
    fn a_caller_from_outside_reaches_public_numbers_only() {
        let outside =
            |dialled| route(&directory(), &everywhere(), Speaker::Elsewhere(tenant(2)), dialled);
        assert_eq!(outside("+4312345").to, Destination::User(user(101)));
        for (dialled, why) in [
            ("101", Reason::NotPublic),
            ("klaus.darilion", Reason::NotPublic),
            ("600", Reason::NotPublic),
            ("+493099", Reason::Unknown),
            ("999", Reason::Unknown),
        ] {
            let route = outside(dialled);
            assert_eq!(route.to, Destination::Nobody, "{dialled}");
            assert_eq!(route.because.as_slice(), [why]);
        }
    }

    #[test]
    fn public_numbers_may_lead_to_each_other_but_not_in_a_circle() {
        let mut acme = directory();
        acme.numbers.insert("+431".into(), "+432".into());
        acme.numbers.insert("+432".into(), "+4312345".into());
        assert_eq!(from_101(&acme, "+431").to, Destination::User(user(101)));

        acme.numbers.insert("+432".into(), "+431".into());
        let lost = from_101(&acme, "+431");
        assert_eq!(lost.to, Destination::Nobody);
        assert_eq!(lost.because.last(), Some(&Reason::Circle));
    }

    #[test]
    fn a_public_number_that_leads_to_a_removed_name_leads_nowhere() {
        let mut acme = directory();
        acme.numbers.insert("+431".into(), "199".into());
        for caller in [Speaker::User(user(101)), Speaker::Elsewhere(tenant(2))] {
            let route = route(&acme, &everywhere(), caller, "+431");
            assert_eq!(route.to, Destination::Nobody);
            assert_eq!(route.because.last(), Some(&Reason::Unknown));
        }
    }

    fn from_101(directory: &Directory, dialled: &str) -> Route {
        route(directory, &everywhere(), Speaker::User(user(101)), dialled)
    }

    /// All tenants' numbers, with one that the directory has lost meanwhile.
    fn everywhere() -> BTreeMap<String, TenantId> {
        let numbers = [("+4312345", 1), ("+4312346", 1), ("+4312348", 1), ("+493099", 2)];
        numbers.map(|(number, whose)| (number.into(), tenant(whose))).into()
    }
}
