//! How a file looks: what its first line says, what it is called, how long it is.

use syn::spanned::Spanned;

use super::tree::Tree;

/// Longer ones are worth a thought.
const LONG: usize = 500;

/// Longer ones are two files.
const TOO_LONG: usize = 700;

/// Names that say where something was put and not what it is.
const NO_NOUNS: &[&str] = &[
    "common", "core", "handler", "helper", "helpers", "inner", "manager", "misc", "types", "util",
    "utils",
];

/// Files that break a rule.
pub(crate) fn broken(tree: &Tree) -> Vec<String> {
    let mut broken = vec![];
    for (path, text) in tree.below("") {
        if !says_what_it_is_for(text) {
            broken.push(format!("{path} does not begin with a line that says what it is for"));
        }
        if path.trim_end_matches(".rs").split('/').any(|part| NO_NOUNS.contains(&part)) {
            broken.push(format!("{path} is named after no noun of the trade"));
        }
        let lines = lines_without_tests(path, text);
        if lines > TOO_LONG {
            broken
                .push(format!("{path} has {lines} lines without its tests, more than {TOO_LONG}"));
        }
    }
    broken
}

/// Files that are long, though they may stay.
pub(crate) fn long(tree: &Tree) -> Vec<String> {
    let files = tree.below("").map(|(path, text)| (path, lines_without_tests(path, text)));
    files
        .filter(|(_, lines)| *lines > LONG)
        .map(|(path, lines)| format!("{path} has {lines} lines without its tests"))
        .collect()
}

/// At least three words: `//! Calls.` tells a newcomer nothing.
fn says_what_it_is_for(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix("//! ").is_some_and(|words| words.split_whitespace().count() >= 3)
}

fn lines_without_tests(path: &str, text: &str) -> usize {
    let is_test_file = path.starts_with("tests/") && !path.starts_with("tests/kit/")
        || path.contains("/tests/")
        || path.ends_with("/tests.rs");
    if is_test_file {
        return 0;
    }
    let file = syn::parse_file(text).expect("a source file is Rust");
    let tests = file.items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) if module.attrs.iter().any(is_for_tests) => {
            let span = module.span();
            Some(span.end().line + 1 - span.start().line)
        }
        _ => None,
    });
    text.lines().count() - tests.sum::<usize>()
}

fn is_for_tests(attribute: &syn::Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else { return false };
    list.path.is_ident("cfg") && list.tokens.to_string() == "test"
}
