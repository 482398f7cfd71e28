//! What somebody dialled, as the dialplan compares it: a name as it is, a number without its dashes.
//!
//! RFC 3261 §19.1.1 (the user part), RFC 3966 §3 and §5.1.1 (visual separators, parameters).

use std::borrow::Cow;

use crate::tenant::directory::Directory;

/// A number longer than this is a mistake or an attack; E.164 has 15 digits, feature codes add some.
const LONGEST_NUMBER: usize = 64;

/// The user part of a Request-URI (already percent-decoded; of a `tel:` URI all after the colon)
/// without the telephone parameters behind it and without the tenant's `*LABEL`.
pub fn dialled<'a>(directory: &Directory, user: &'a str) -> &'a str {
    let name = without_parameters(user);
    let label = directory.label.as_deref();
    match (name.rsplit_once('*'), label) {
        (Some((name, written)), Some(label)) if written.eq_ignore_ascii_case(label) => name,
        (Some(_) | None, _) => name,
    }
}

/// The digits of a number that is written for eyes, as `+43 (1) 505-641`; anything else as it is.
pub fn normalised(dialled: &str) -> Cow<'_, str> {
    if dialled.len() > LONGEST_NUMBER || !dialled.contains(is_separator) {
        return Cow::Borrowed(dialled);
    }
    // "+43 (0) 1 505641" names the trunk prefix only for those who dial within the country.
    let international = match dialled.trim_start().starts_with('+') {
        true => dialled.replacen("(0)", "", 1),
        false => dialled.to_owned(),
    };
    let number: String = international.chars().filter(|c| !is_separator(*c)).collect();
    if is_number(&number) { Cow::Owned(number) } else { Cow::Borrowed(dialled) }
}

fn is_separator(c: char) -> bool {
    matches!(c, ' ' | '(' | ')' | '-' | '/' | '.')
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn without_parameters(user: &str) -> &str {
    user.split_once(';').map_or(user, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::sample::directory;

    #[test]
    fn a_number_loses_what_is_written_for_eyes() {
        let written = [
            ("+43 (1) 505641", "+431505641"),
            ("+43-1-505 64.1", "+431505641"),
            ("+43 (0)1/505641", "+431505641"),
            ("(0) 1 505641", "01505641"),
            ("101", "101"),
            ("+4312345", "+4312345"),
        ];
        for (dialled, digits) in written {
            assert_eq!(normalised(dialled), digits, "{dialled}");
        }
    }

    #[test]
    fn a_name_stays_as_it_is() {
        for name in ["klaus.darilion", "front-desk", "a/b", "", "()", "+", "+-", "*97", "1.2.x"] {
            assert_eq!(normalised(name), name);
        }
        let long = "1-".repeat(40);
        assert_eq!(normalised(&long), long);
    }

    #[test]
    fn telephone_parameters_and_our_label_are_not_part_of_the_number() {
        let acme = directory();
        assert_eq!(dialled(&acme, "+4312345;phone-context=acme.test"), "+4312345");
        assert_eq!(dialled(&acme, "101*ACME"), "101");
        assert_eq!(dialled(&acme, "101*other"), "101*other");
        assert_eq!(dialled(&acme, "*97"), "*97");
        assert_eq!(dialled(&acme, "klaus.darilion"), "klaus.darilion");
    }
}
