//! Which certificate is shown to whom: the newest that is valid now, of those for the name asked for.
//!
//! RFC 6066 §3, RFC 6125 §6.4.3 (a `*` stands for the first label). Nothing here reads a clock: the
//! choice is made anew at each handshake, so a certificate that expires gives way to the next.

use std::cmp::Reverse;
use std::collections::HashMap;

use pbx::moment::Moment;

/// What is known of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// Names that it is for, in lower case; `*.` may stand before one.
    pub(super) names: Vec<String>,
    /// From when it is valid.
    pub(super) from: Moment,
    /// Until when, that moment included.
    pub(super) until: Moment,
}

/// Whether a certificate is valid; the later, the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    TooYoung,
    TooOld,
    Valid,
}

/// How well a certificate fits a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Wildcard,
    Exact,
}

impl Facts {
    pub(super) fn new(names: Vec<String>, from: Moment, until: Moment) -> Self {
        Self { names: names.iter().map(|name| plain(name)).collect(), from, until }
    }

    fn age(&self, now: Moment) -> Age {
        if now < self.from {
            Age::TooYoung
        } else if now > self.until {
            Age::TooOld
        } else {
            Age::Valid
        }
    }

    pub(super) fn is_valid(&self, now: Moment) -> bool {
        self.age(now) == Age::Valid
    }

    /// Whether it is for a name, by itself or by its wildcard.
    pub(super) fn covers(&self, name: &str) -> bool {
        let wildcard = wildcard_of(name);
        self.names.iter().any(|own| own == name || Some(own) == wildcard.as_ref())
    }
}

/// All certificates, by name.
#[derive(Debug, Default)]
pub(super) struct Choice {
    all: Vec<Facts>,
    by_name: HashMap<String, Vec<usize>>,
    /// For whoever names nothing that we know: the default, and what can stand in for it.
    default: Vec<usize>,
}

impl Choice {
    /// Of these, one of which is the default.
    pub(super) fn new(all: Vec<Facts>, default: Option<usize>) -> Self {
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, facts) in all.iter().enumerate() {
            for name in &facts.names {
                by_name.entry(name.clone()).or_default().push(index);
            }
        }
        let stands_in = |facts: &Facts, default: &Facts| {
            !default.names.is_empty() && default.names.iter().all(|name| facts.covers(name))
        };
        let default = default.and_then(|index| Some((index, all.get(index)?)));
        let default = default.map_or_else(Vec::new, |(index, own)| {
            let others = all
                .iter()
                .enumerate()
                .filter(|(other, facts)| *other == index || stands_in(facts, own));
            others.map(|(index, _)| index).collect()
        });
        Self { all, by_name, default }
    }

    /// The certificate for whoever asks for that name, or for none.
    pub(super) fn choose(&self, name: Option<&str>, now: Moment) -> Option<usize> {
        let named = name.map(plain).and_then(|name| {
            let exact = self.named(&name).map(|index| (index, Fit::Exact));
            let wildcard = wildcard_of(&name).unwrap_or_default();
            let wildcard = self.named(&wildcard).map(|index| (index, Fit::Wildcard));
            self.best(exact.chain(wildcard), now)
        });
        let default = || self.best(self.default.iter().map(|index| (*index, Fit::Exact)), now);
        named.or_else(default)
    }

    /// When the first of those certificates expires that would be shown now for some name, or for
    /// none.
    pub(super) fn first_expiry(&self, now: Moment) -> Option<Moment> {
        let names = self.by_name.keys().map(|name| Some(name.as_str()));
        let shown = names.chain([None]).filter_map(|name| self.choose(name, now));
        shown.filter_map(|index| self.all.get(index)).map(|facts| facts.until).min()
    }

    fn named(&self, name: &str) -> impl Iterator<Item = usize> {
        self.by_name.get(name).into_iter().flatten().copied()
    }

    fn best(&self, of: impl Iterator<Item = (usize, Fit)>, now: Moment) -> Option<usize> {
        let rank = |index: usize, fit: Fit| {
            let facts = self.all.get(index)?;
            Some((facts.age(now), fit, facts.from, facts.until, Reverse(index)))
        };
        of.max_by_key(|(index, fit)| rank(*index, *fit)).map(|(index, _)| index)
    }
}

/// A name as it is compared.
pub(super) fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn wildcard_of(name: &str) -> Option<String> {
    name.split_once('.').map(|(_, rest)| format!("*.{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(names: &[&str], from: u64, until: u64) -> Facts {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Facts::new(names, Moment::from_secs(from), Moment::from_secs(until))
    }

    fn at(choice: &Choice, name: &str, now: u64) -> Option<usize> {
        choice.choose(Some(name), Moment::from_secs(now))
    }

    #[test]
    fn the_newest_valid_one_is_shown_and_gives_way_when_it_expires() {
        let all = vec![
            facts(&["a.test"], 10, 100),
            facts(&["A.test"], 20, 60),
            facts(&["a.test"], 90, 300),
        ];
        let choice = Choice::new(all, None);
        let shown: Vec<_> =
            [15, 25, 60, 61, 89, 90, 200].map(|now| at(&choice, "a.TEST.", now)).into();
        assert_eq!(shown, [0, 1, 1, 0, 0, 2, 2].map(Some));
        // None is valid any more, or yet: the one that was valid last.
        assert_eq!(at(&choice, "a.test", 400), Some(2));
        assert_eq!(at(&Choice::new(vec![facts(&["x"], 5, 6)], None), "x", 1), Some(0));
    }

    #[test]
    fn only_what_is_shown_expires() {
        let all = vec![
            facts(&["a.test"], 10, 100),
            facts(&["a.test"], 20, 300),
            facts(&["b.test"], 10, 200),
        ];
        let choice = Choice::new(all, Some(1));
        let expiry = |now| choice.first_expiry(Moment::from_secs(now));
        assert_eq!([15, 50].map(expiry), [100, 200].map(|at| Some(Moment::from_secs(at))));
        assert_eq!(Choice::default().first_expiry(Moment::EPOCH), None);
    }

    #[test]
    fn a_wildcard_is_for_one_label_and_second_to_the_name_itself() {
        let all = vec![facts(&["*.b.test", "b.test"], 50, 200), facts(&["a.b.test"], 10, 100)];
        let choice = Choice::new(all, None);
        assert_eq!(at(&choice, "a.b.test", 60), Some(1));
        assert_eq!(at(&choice, "a.b.test", 150), Some(0));
        assert_eq!(at(&choice, "c.b.test", 60), Some(0));
        assert_eq!(at(&choice, "b.test", 60), Some(0));
        assert_eq!(at(&choice, "d.c.b.test", 60), None);
    }

    #[test]
    fn whoever_names_nothing_that_we_know_gets_the_default_or_what_stands_in_for_it() {
        let all = vec![
            facts(&["b.test"], 0, 900),
            facts(&["a.test", "sip.a.test"], 10, 100),
            facts(&["a.test", "*.a.test"], 90, 300),
            facts(&["a.test"], 95, 300),
        ];
        let choice = Choice::new(all, Some(1));
        for name in [None, Some("192.0.2.1"), Some("unknown.test"), Some("")] {
            let shown = [50, 95, 200].map(|now| choice.choose(name, Moment::from_secs(now)));
            assert_eq!(shown, [Some(1), Some(2), Some(2)], "{name:?}");
        }
        let nothing = Choice::new(vec![], None);
        assert_eq!(nothing.choose(None, Moment::EPOCH), None);
    }
}
