//! Where each outside package may be named: one home each, so that it can be changed in one place.

use super::paths::{module_of, named_in};
use super::tree::Tree;

/// A crate as code names it, and the path that every file naming it begins with.
const HOMES: &[(&str, &str)] = &[
    ("rsip", "tenantd/pbx/src/sip/"),
    ("sqlx", "tenantd/store/"),
    ("aws_sdk_s3", "tenantd/store/src/objects"),
    ("aws_smithy_http_client", "tenantd/store/src/objects"),
    ("ebur128", "media/src/upload"),
    ("stun_rs", "media/src/stun"),
    ("symphonia", "media/src/upload"),
    ("openssl", "media/src/dtls"),
    ("audio_codec", "media/src/codec/"),
    ("opus_pure", "media/src/codec/"),
    ("io_uring", "media/src/io/uring"),
    ("rustls", "tenantd/src/net/tls"),
    ("tokio_rustls", "tenantd/src/net/tls"),
    ("axum", "web/"),
    ("askama", "web/"),
    ("lettre", "web/src/mail"),
];

/// Names of an outside package away from its home. Tests may name any, as judges.
pub(crate) fn broken(tree: &Tree) -> Vec<String> {
    let mut broken = vec![];
    for (path, text) in tree.below("").filter(|(path, _)| !path.starts_with("tests/")) {
        let in_src = path.split_once("/src/").map_or(path, |(_, rest)| rest);
        for named in named_in(text, &module_of(in_src)) {
            let first = named.segments.first().map(String::as_str).unwrap_or_default();
            if let Some((package, home)) = HOMES.iter().find(|(package, _)| *package == first)
                && !path.starts_with(home)
            {
                broken.push(format!("{path}:{}: {package} lives in {home}", named.line));
            }
        }
    }
    broken.dedup();
    broken
}
