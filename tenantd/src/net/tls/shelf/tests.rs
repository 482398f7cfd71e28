//! Certificates in files, replaced while they are in use.

use std::fs::{create_dir_all, remove_dir_all, write};
use std::path::Path;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;
use crate::scratch::Scratch;

/// Writes a pair that is valid between two moments, in seconds.
fn pair(folder: &Path, middle: &str, names: &[&str], from: u64, until: u64) -> Vec<u8> {
    create_dir_all(folder).unwrap();
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(1970, 1, 1) + Duration::from_secs(from);
    params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(until);
    let key = KeyPair::generate().unwrap();
    let made = params.self_signed(&key).unwrap();
    write(folder.join(format!("fullchain{middle}.pem")), made.pem()).unwrap();
    write(folder.join(format!("privkey{middle}.pem")), key.serialize_pem()).unwrap();
    made.der().to_vec()
}

struct Rig {
    scratch: Scratch,
    certificates: Arc<Certificates>,
}

impl Rig {
    fn new(prepare: impl FnOnce(&Path)) -> Self {
        let scratch = Scratch::new();
        let directory = scratch.path().join("certificates");
        create_dir_all(&directory).unwrap();
        prepare(&directory);
        let certificates = Certificates::open(Setup {
            default: None,
            directory: Some(directory),
            own: scratch.path().join("own"),
            names: vec!["localhost".to_owned()],
        });
        Self { certificates: certificates.unwrap(), scratch }
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.scratch.path().join("certificates").join(name)
    }

    fn shown(&self, name: Option<&str>, now: u64) -> Vec<u8> {
        let key = self.certificates.chosen(name, Moment::from_secs(now)).unwrap();
        key.cert.first().unwrap().to_vec()
    }

    /// What is written is read at the second look.
    fn look_twice(&self) {
        (0..2).for_each(|_| self.certificates.look_again(now()));
    }
}

#[test]
fn each_name_has_its_own_and_strangers_the_self_signed_one() {
    let (mut a, mut b) = (vec![], vec![]);
    let rig = Rig::new(|directory| {
        a = pair(&directory.join("a.test"), "", &["a.test"], 0, 9_000_000_000);
        b = pair(&directory.join("b.test"), "", &["*.b.test"], 0, 9_000_000_000);
    });
    assert_eq!(rig.shown(Some("A.test"), 50), a);
    // By its wildcard, and by its folder's name.
    assert_eq!(rig.shown(Some("sip.b.test"), 50), b);
    assert_eq!(rig.shown(Some("b.test"), 50), b);
    let own = rig.shown(None, 50);
    assert!(own != a && own != b);
    for stranger in ["127.0.0.1", "c.test", "localhost"] {
        assert_eq!(rig.shown(Some(stranger), 50), own);
    }
    // Nobody else has signed any of these.
    for name in ["a.test", "localhost", "c.test"] {
        assert!(!rig.certificates.is_vouched_for(name), "{name}");
    }
}

#[test]
fn a_renewed_one_is_shown_without_a_restart_and_its_expiry_brings_the_old_one_back() {
    let mut old = vec![];
    let rig = Rig::new(|directory| {
        old = pair(&directory.join("a.test"), "", &["a.test"], 10, 1_000);
    });
    assert_eq!(rig.shown(Some("a.test"), 500), old);
    let new = pair(&rig.folder("a.test"), "-next", &["a.test"], 400, 600);
    rig.certificates.look_again(now());
    assert_eq!(rig.shown(Some("a.test"), 500), old, "it may be half written");
    rig.certificates.look_again(now());
    let shown = [399, 400, 600, 601].map(|at| rig.shown(Some("a.test"), at));
    assert_eq!(shown, [old.clone(), new.clone(), new, old.clone()]);
    // Replaced in place, and in another folder.
    let third = pair(&rig.folder("a.test"), "", &["a.test"], 450, 2_000);
    let fourth = pair(&rig.folder("anything"), "", &["a.test"], 460, 3_000);
    rig.look_twice();
    assert_eq!(rig.shown(Some("a.test"), 455), third);
    assert_eq!(rig.shown(Some("a.test"), 500), fourth);
    remove_dir_all(rig.folder("anything")).unwrap();
    rig.look_twice();
    assert_eq!(rig.shown(Some("a.test"), 500), third);
}

#[test]
fn a_broken_file_changes_nothing_until_it_is_mended() {
    let mut old = vec![];
    let rig = Rig::new(|directory| {
        old = pair(&directory.join("a.test"), "", &["a.test"], 0, 1_000);
        create_dir_all(directory.join("b.test")).unwrap();
        write(directory.join("b.test/fullchain.pem"), "no certificate").unwrap();
        write(directory.join("b.test/privkey.pem"), "no key").unwrap();
    });
    write(rig.folder("a.test").join("fullchain.pem"), "half a certi").unwrap();
    rig.look_twice();
    assert_eq!(rig.shown(Some("a.test"), 50), old);
    // A certificate with another one's key.
    pair(&rig.folder("a.test"), "", &["a.test"], 20, 1_000);
    let key = KeyPair::generate().unwrap().serialize_pem();
    write(rig.folder("a.test").join("privkey.pem"), key).unwrap();
    rig.look_twice();
    assert_eq!(rig.shown(Some("a.test"), 50), old);
    let new = pair(&rig.folder("a.test"), "", &["a.test"], 20, 1_000);
    rig.look_twice();
    assert_eq!(rig.shown(Some("a.test"), 50), new);
}

#[test]
fn the_default_takes_over_from_the_self_signed_one_and_back() {
    let rig = Rig::new(|_| {});
    let own = rig.shown(None, 50);
    let default = pair(&rig.folder("default"), "", &["sip.example"], 0, 1_000);
    rig.look_twice();
    assert_eq!(rig.shown(None, 50), default);
    // It stands in for the default, for it is for the same name.
    let next = pair(&rig.folder("sip.example"), "", &["sip.example"], 40, 2_000);
    rig.look_twice();
    assert_eq!([rig.shown(None, 30), rig.shown(None, 50)], [default, next]);
    remove_dir_all(rig.folder("default")).unwrap();
    rig.look_twice();
    assert_eq!(rig.shown(None, 50), own);
}

#[test]
fn somebody_vouches_for_a_name_only_as_long_as_the_certificate_is_valid() {
    let rig = Rig::new(|directory| {
        let folder = directory.join("a.test");
        create_dir_all(&folder).unwrap();
        let (ca, leaf) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let params = |name: &str| {
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params
        };
        let issuer = rcgen::Issuer::new(params("ca.test"), ca);
        let made = params("a.test").signed_by(&leaf, &issuer).unwrap();
        write(folder.join("fullchain.pem"), made.pem()).unwrap();
        write(folder.join("privkey.pem"), leaf.serialize_pem()).unwrap();
        pair(&directory.join("b.test"), "", &["b.test"], 0, 1_000);
    });
    assert!(rig.certificates.is_vouched_for("A.test"));
    assert!(!rig.certificates.is_vouched_for("b.test"));
    assert!(!rig.certificates.is_vouched_for("unknown.test"));
}

#[test]
fn a_configured_default_must_be_usable() {
    let scratch = Scratch::new();
    let missing = scratch.path().join("missing.pem");
    let setup = Setup { default: Some((missing.clone(), missing)), ..Setup::default() };
    let failure = Certificates::open(setup).unwrap_err().to_string();
    assert!(failure.starts_with("[tls] ") && failure.contains("missing.pem"), "{failure}");
}
