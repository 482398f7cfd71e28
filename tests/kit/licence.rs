//! Reading a licence as packages state it: `MIT OR (Apache-2.0 AND ISC)`.
//!
//! SPDX specification 2.3, annex D. An exception (`WITH`) only ever allows more, so it is skipped;
//! the slash of older packages means OR.

/// Whether the licence can be accepted by somebody who accepts those that `accept` names. Text
/// that is no licence expression cannot be accepted.
pub fn is_satisfied(expression: &str, accept: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { words: &words, accept };
    reader.any_of() == Some(true) && reader.words.is_empty()
}

/// The name of a licence that is only there as text; none if the text is not known.
pub fn name_of(text: &str) -> Option<&'static str> {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let says = |sentence: &str| words.contains(sentence);
    let is_mit = says("Permission is hereby granted, free of charge, to any person")
        && says("The above copyright notice and this permission notice shall be included")
        && says("THE SOFTWARE IS PROVIDED \"AS IS\"");
    is_mit.then_some("MIT")
}

struct Reader<'a> {
    words: &'a [&'a str],
    accept: &'a dyn Fn(&str) -> bool,
}

impl Reader<'_> {
    fn any_of(&mut self) -> Option<bool> {
        let mut any = self.all_of()?;
        while self.take("OR") {
            any |= self.all_of()?;
        }
        Some(any)
    }

    fn all_of(&mut self) -> Option<bool> {
        let mut all = self.one()?;
        while self.take("AND") {
            all &= self.one()?;
        }
        Some(all)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let inside = self.any_of()?;
            return self.take(")").then_some(inside);
        }
        let (name, rest) = self.words.split_first()?;
        self.words = rest;
        if self.take("WITH") {
            let (_exception, rest) = self.words.split_first()?;
            self.words = rest;
        }
        let is_name = !["OR", "AND", "WITH", ")"].contains(name);
        is_name.then(|| (self.accept)(name))
    }

    fn take(&mut self, word: &str) -> bool {
        match self.words {
            [first, rest @ ..] if first.eq_ignore_ascii_case(word) => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{is_satisfied, name_of};

    #[test]
    fn one_accepted_choice_is_enough_and_every_part_is_needed() {
        let accept = |name: &str| ["MIT", "ISC"].contains(&name);
        for (expression, expected) in [
            ("MIT", true),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0 AND MIT", false),
            ("GPL-3.0 OR MIT AND ISC", true),
            ("(GPL-3.0 OR MIT) AND (ISC)", true),
            ("MIT AND (GPL-3.0)", false),
            ("ISC WITH LLVM-exception", true),
            ("GPL-3.0", false),
        ] {
            assert_eq!(is_satisfied(expression, &accept), expected, "{expression}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_accepted() {
        for expression in ["", "MIT OR", "(MIT", "MIT)", "MIT ISC", "OR", "MIT WITH"] {
            assert!(!is_satisfied(expression, &|_| true), "{expression}");
        }
    }

    #[test]
    fn a_text_is_known_only_if_all_of_it_is_there() {
        let text = "Permission is hereby granted, free of charge, to any person obtaining\n\
             a copy. The above copyright notice and this\npermission notice shall be included\n\
             in all copies. THE SOFTWARE IS PROVIDED \"AS IS\", WITHOUT WARRANTY";
        assert_eq!(name_of(text), Some("MIT"));
        assert_eq!(name_of(&text.replace("free of charge", "for a small fee")), None);
        assert_eq!(name_of(""), None);
    }
}
