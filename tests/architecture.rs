//! The layout's walls, checked: what may point at what, where each outside package lives, and how
//! a file begins and ends.
//!
//! Each rule takes a tree of files and returns what breaks it, so the same code judges this
//! repository and the small trees in `fixtures/architecture`, each of which breaks one rule.

use std::path::{Path, PathBuf};

#[path = "architecture/arrows.rs"]
mod arrows;
#[path = "architecture/floors.rs"]
mod floors;
#[path = "architecture/homes.rs"]
mod homes;
#[path = "architecture/pages.rs"]
mod pages;
#[path = "architecture/paths.rs"]
mod paths;
#[path = "architecture/tree.rs"]
mod tree;

use tree::Tree;

#[test]
fn packages_depend_one_way() {
    assert_unbroken(&arrows::broken(&repository()));
}

#[test]
fn floors_of_pbx_use_only_what_lies_below_them() {
    assert_unbroken(&floors::broken(&Tree::read(&repository())));
}

#[test]
fn the_core_is_pure() {
    assert_unbroken(&floors::impure(&Tree::read(&repository())));
}

#[test]
fn each_outside_package_is_named_only_at_its_home() {
    assert_unbroken(&homes::broken(&Tree::read(&repository())));
}

#[test]
fn every_file_says_what_it_is_for_and_stays_short() {
    let tree = Tree::read(&repository());
    for long in pages::long(&tree) {
        println!("warning: {long}");
    }
    assert_unbroken(&pages::broken(&tree));
}

#[test]
fn an_arrow_that_points_up_is_found() {
    assert_found(
        &arrows::broken(&fixture("arrows")),
        &[
            "pbx (tenantd/pbx) depends on store: pbx may depend on nothing of ours",
            "web (web) depends on media: web may depend on pbx, store",
            "media (media) depends on tokio, which is kept out of media",
            "web (web) depends on sqlx, whose home is store",
            "helpers (helpers) is not a package of the layout",
            "store (elsewhere) lives in tenantd/store",
        ],
    );
}

#[test]
fn a_floor_that_looks_up_is_found() {
    assert_found(
        &floors::broken(&Tree::read(&fixture("floors"))),
        &[
            "tenantd/pbx/src/sip/dialog.rs:5: sip must not use tenant",
            "tenantd/pbx/src/sip/dialog.rs:7: sip must not use call",
            "tenantd/pbx/src/sip/dialog.rs:14: sip must not use registrar",
            "tenantd/pbx/src/registrar/mod.rs:3: registrar must not use dialplan",
            "tenantd/pbx/src/registrar/mod.rs:7: registrar must not use switch",
            "tenantd/pbx/src/billing.rs: billing has no floor yet: give it one in tests/architecture/floors.rs",
        ],
    );
}

#[test]
fn a_clock_a_socket_a_lock_and_a_log_in_the_core_are_found() {
    assert_found(
        &floors::impure(&Tree::read(&fixture("impure"))),
        &[
            "tenantd/pbx/src/moment.rs:3: std::sync::Mutex has no place in pbx",
            "tenantd/pbx/src/moment.rs:3: std::time::Instant has no place in pbx",
            "tenantd/pbx/src/moment.rs:6: std::net::UdpSocket::bind has no place in pbx",
            "tenantd/pbx/src/moment.rs:7: tracing::info has no place in pbx",
            "tenantd/pbx/src/moment.rs:8: std::fs::read has no place in pbx",
        ],
    );
}

#[test]
fn an_outside_package_away_from_home_is_found() {
    assert_found(
        &homes::broken(&Tree::read(&fixture("homes"))),
        &[
            "tenantd/pbx/src/call/leg.rs:3: rsip lives in tenantd/pbx/src/sip/",
            "web/src/page/calls.rs:3: sqlx lives in tenantd/store/",
            "web/src/page/calls.rs:6: lettre lives in web/src/mail",
            "web/src/page/calls.rs:11: sqlx lives in tenantd/store/",
            "tenantd/src/net/udp.rs:4: rustls lives in tenantd/src/net/tls",
        ],
    );
}

#[test]
fn a_nameless_a_silent_and_an_endless_file_are_found() {
    let mut tree = Tree::read(&fixture("pages"));
    tree.add("media/src/endless.rs", &format!("//! What goes on and on.\n{}", "//\n".repeat(700)));
    tree.add(
        "media/src/tested.rs",
        &format!(
            "//! What is well tested.\n\n#[cfg(test)]\nmod tests {{\n{}}}\n",
            "//\n".repeat(900)
        ),
    );
    tree.add("media/src/longish.rs", &format!("//! What is long.\n{}", "//\n".repeat(600)));
    assert_found(
        &pages::broken(&tree),
        &[
            "media/src/silent.rs does not begin with a line that says what it is for",
            "media/src/curt.rs does not begin with a line that says what it is for",
            "media/src/utils.rs is named after no noun of the trade",
            "media/src/endless.rs has 701 lines without its tests, more than 700",
        ],
    );
    assert_found(
        &pages::long(&tree),
        &[
            "media/src/endless.rs has 701 lines without its tests",
            "media/src/longish.rs has 601 lines without its tests",
        ],
    );
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/architecture").join(name)
}

fn assert_unbroken(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

/// All of `expected`, and nothing else.
fn assert_found(found: &[String], expected: &[&str]) {
    let (mut found, mut expected) = (found.to_vec(), expected.to_vec());
    found.sort();
    expected.sort_unstable();
    assert_eq!(found, expected);
}
