//! Every path that a file names: in imports, expressions, types, attributes and macros.

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// A path as it is meant: `use std::{fs, io::Read}` are two, and `super` is resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Its segments; `crate` stands first if it is one of ours.
    pub(crate) segments: Vec<String>,
    /// The line of its first segment.
    pub(crate) line: usize,
}

/// All paths in `text`, whose module is `module` (its segments below the crate's root).
///
/// Panics if the text is not Rust: then the compiler has more to say than we do.
pub(crate) fn named_in(text: &str, module: &[String]) -> Vec<Named> {
    let file = syn::parse_file(text).expect("a source file is Rust");
    let mut reader = Reader { module: module.to_vec(), found: vec![] };
    reader.visit_file(&file);
    reader.found
}

/// The module that a file is, below the root of its crate: `sip/transaction/mod.rs` is
/// `sip::transaction`.
pub(crate) fn module_of(path_in_src: &str) -> Vec<String> {
    let mut segments: Vec<String> =
        path_in_src.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    let stands_for_its_folder =
        segments.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str()));
    if stands_for_its_folder {
        segments.pop();
    }
    segments
}

struct Reader {
    module: Vec<String>,
    found: Vec<Named>,
}

impl Reader {
    fn add(&mut self, segments: Vec<String>, line: usize) {
        let segments = self.resolve(segments);
        if !segments.is_empty() {
            self.found.push(Named { segments, line });
        }
    }

    /// Turns `self::` and `super::` into a path from `crate`.
    fn resolve(&self, segments: Vec<String>) -> Vec<String> {
        let mut from = self.module.clone();
        let mut rest = segments.as_slice();
        while let [first, after @ ..] = rest {
            match first.as_str() {
                "self" => {}
                "super" => drop(from.pop()),
                _ => break,
            }
            rest = after;
        }
        if rest.len() == segments.len() {
            return segments;
        }
        let root = std::iter::once("crate".to_owned());
        root.chain(from).chain(rest.iter().cloned()).collect()
    }

    fn add_use(&mut self, before: &[String], line: Option<usize>, tree: &syn::UseTree) {
        let with = |ident: &syn::Ident| {
            let mut segments = before.to_vec();
            if ident != "self" || before.is_empty() {
                segments.push(ident.to_string());
            }
            segments
        };
        match tree {
            syn::UseTree::Path(path) => {
                let line = line.unwrap_or(path.ident.span().start().line);
                self.add_use(&with(&path.ident), Some(line), &path.tree);
            }
            syn::UseTree::Name(name) => {
                self.add(with(&name.ident), line.unwrap_or(name.ident.span().start().line));
            }
            syn::UseTree::Rename(name) => {
                self.add(with(&name.ident), line.unwrap_or(name.ident.span().start().line));
            }
            syn::UseTree::Glob(glob) => {
                self.add(before.to_vec(), line.unwrap_or(glob.star_token.spans[0].start().line));
            }
            syn::UseTree::Group(group) => {
                for item in &group.items {
                    self.add_use(before, line, item);
                }
            }
        }
    }

    /// What a macro or an attribute is given is not parsed, only scanned for `a::b::c`.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = vec![];
        let mut line = 0;
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if path.is_empty() || colons != 2 {
                        self.end_path(&mut path, line);
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.end_path(&mut path, line);
                    self.add_tokens(group.stream());
                    colons = 0;
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.end_path(&mut path, line);
                    colons = 0;
                }
            }
        }
        self.end_path(&mut path, line);
    }

    /// A single word in a macro is no path.
    fn end_path(&mut self, path: &mut Vec<String>, line: usize) {
        let path = std::mem::take(path);
        if path.len() > 1 {
            self.add(path, line);
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_use(&[], None, &item.tree);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.add(vec![item.ident.to_string()], item.ident.span().start().line);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        let line = path.segments.first().map_or(0, |first| first.ident.span().start().line);
        self.add(segments, line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.add_tokens(item.tokens.clone());
        visit::visit_macro(self, item);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.add_tokens(list.tokens.clone());
        }
        visit::visit_attribute(self, attribute);
    }
}
