//! Every text that a person reads, by its key: English first, German beside it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

const ENGLISH: &str = include_str!("../texts/en.toml");
const GERMAN: &str = include_str!("../texts/de.toml");

/// A language of the portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// For everybody who asked for nothing that we have.
    English,
    /// For those who asked for it.
    German,
}

impl Language {
    /// The one that a browser prefers (RFC 9110 §12.5.4), of those that we have.
    pub fn preferred(accept: &str) -> Self {
        let quality = |part: &str| {
            let weight = part.split(';').skip(1).find_map(|p| p.trim().strip_prefix("q="));
            weight.and_then(|q| q.trim().parse().ok()).unwrap_or(1.0_f32)
        };
        let best = |wanted: &str| {
            let parts = accept.split(',').map(str::trim);
            let ours = parts
                .filter(|part| part.get(..2).is_some_and(|code| code.eq_ignore_ascii_case(wanted)));
            ours.map(quality).fold(0.0, f32::max)
        };
        if best("de") > best("en") { Self::German } else { Self::English }
    }

    /// Its code, for the page's `lang`.
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
        }
    }

    /// The text of a key; a key that is missing shows itself.
    pub fn get(&self, key: &str) -> &'static str {
        static TEXTS: OnceLock<[BTreeMap<String, String>; 2]> = OnceLock::new();
        let texts = TEXTS.get_or_init(|| [ENGLISH, GERMAN].map(read));
        let [english, german] = texts;
        let of = match self {
            Self::English => english,
            Self::German => german,
        };
        match of.get(key).or_else(|| english.get(key)) {
            Some(text) => text,
            None => "…",
        }
    }

    /// The text of a key with its `{name}`s filled in.
    pub fn fill(&self, key: &str, values: &[(&str, &str)]) -> String {
        let mut text = self.get(key).to_owned();
        for (name, value) in values {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        text
    }
}

fn read(text: &str) -> BTreeMap<String, String> {
    toml::from_str(text).expect("a test reads the catalogues")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_say_the_same_things() {
        let names = |text: &str| -> Vec<String> {
            let mut names: Vec<String> = text
                .split('{')
                .skip(1)
                .filter_map(|rest| rest.split_once('}').map(|(name, _)| name.to_owned()))
                .collect();
            names.sort();
            names
        };
        let (english, german) = (read(ENGLISH), read(GERMAN));
        assert_eq!(english.keys().collect::<Vec<_>>(), german.keys().collect::<Vec<_>>());
        for (key, text) in &english {
            assert_eq!(names(text), names(&german[key]), "{key}");
        }
    }

    #[test]
    fn every_text_that_a_template_asks_for_is_there() {
        let english = read(ENGLISH);
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/templates");
        let mut asked = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            for rest in text.split("t.get(\"").skip(1) {
                let key = rest.split('"').next().unwrap();
                assert!(english.contains_key(key), "{key}");
                asked += 1;
            }
        }
        assert!(asked > 30, "{asked}");
    }

    #[test]
    fn a_browser_gets_the_language_that_it_prefers() {
        assert_eq!(Language::preferred("de-AT,de;q=0.9,en;q=0.8"), Language::German);
        assert_eq!(Language::preferred("en-GB,de;q=0.9"), Language::English);
        assert_eq!(Language::preferred("fr"), Language::English);
        assert_eq!(Language::preferred(""), Language::English);
    }
}
