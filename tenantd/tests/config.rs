//! The configuration as an operator meets it: what is taken, and the one line for each mistake.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::ffi::OsString;
use std::path::PathBuf;

use tenantd::config::{Base, Config, Level, Listen, Role, UnknownDomain, load};

/// Each file is read as `t.toml`; the line must come out exactly so.
const BAD_FILES: &[(&str, &str)] = &[
    (
        "nod = 1\n",
        "t.toml:1:1: unknown field `nod`, expected one of `node`, `data_dir`, `roles`, `drain_for`, `database`, `secrets`, `tls`, `sip`, `media`, `stun`, `web`, `link`, `admin`, `objects`, `sounds`, `mail`, `log`",
    ),
    ("[stun]\nupd = []\n", "t.toml:2:1: unknown field `upd`, expected `udp`"),
    (
        "[log]\nlevel = \"loud\"\n",
        "t.toml:2:9: unknown variant `loud`, expected one of `off`, `error`, `warn`, `info`, `debug`, `trace`",
    ),
    (
        "[sip]\nudp = [\"0.0.0.0:5060\",\n  \"0.0.0.0\"]\n",
        "t.toml:2:7: \"0.0.0.0\" is no address with a port, such as \"0.0.0.0:5060\" or \"[::]:5060\"",
    ),
    (
        "[sip]\nudp = \"0.0.0.0:5060\"\n",
        "t.toml:2:7: invalid type: string \"0.0.0.0:5060\", expected a sequence",
    ),
    (
        "[sip]\nudp = [\"127.0.0.1:5060\", \"127.0.0.1:5060\"]\n",
        "t.toml:2:1: [sip].udp: 127.0.0.1:5060 is listed twice",
    ),
    ("[sip]\nlanes = -1\n", "t.toml:2:9: invalid value: integer `-1`, expected u16"),
    (
        "[sip]\nexternal = [\"192.0.2.1\", \"192.0.2.2\"]\n",
        "t.toml:2:1: [sip].external: more than one address of a family",
    ),
    (
        "[media]\nports = \"9-8\"\n",
        "t.toml:2:9: \"9-8\" is no range of ports from 1024 to 65535, such as \"26000-54000\"",
    ),
    (
        "drain_for = \"10\"\n",
        "t.toml:1:13: \"10\" is no length of time, such as \"10s\" or \"500ms\"",
    ),
    ("drain_for = 10\n", "t.toml:1:13: invalid type: integer `10`, expected a string"),
    ("node = \"n 1\"\n", "t.toml:1:8: \"n 1\" is no node name: 1 to 32 of a-z, 0-9 and -"),
    ("roles = []\n", "t.toml:1:1: roles: a node without a role does nothing"),
    ("roles = [\"sip\", \"sip\"]\n", "t.toml:1:1: roles: a role is listed twice"),
    (
        "roles = [\"smtp\"]\n",
        "t.toml:1:10: unknown variant `smtp`, expected one of `sip`, `media`, `stun`, `web`, `jobs`",
    ),
    (
        "\n[database]\nurl = \"mysql://secret@h/d\"\n",
        "t.toml:3:7: it does not begin with \"postgres://\"",
    ),
    (
        "[database]\nweb_url = \"postgres://h/d\"\n",
        "t.toml:2:1: [database].web_url: it needs url beside it",
    ),
    (
        "[secrets]\nkey_file = \"/nonexistent/key\"\n",
        "t.toml:2:1: [secrets].key_file: /nonexistent/key: No such file or directory (os error 2)",
    ),
    (
        "[tls]\nkey = \"Cargo.toml\"\n",
        "t.toml:1:2: [tls].certificate: certificate and key belong together",
    ),
    (
        "[web]\ntrusted_proxies = [\"10.0.0.0/40\"]\n",
        "t.toml:2:19: \"10.0.0.0/40\" is no range of addresses, such as \"10.0.0.0/8\"",
    ),
    (
        "[link]\nca = \"Cargo.toml\"\n",
        "t.toml:1:2: [link].certificate: certificate, key and ca belong together",
    ),
    (
        "[link]\nlisten = [\"0.0.0.0:7000\"]\n",
        "t.toml:2:1: [link].listen: peers need an address to call: one in listen, or advertise",
    ),
    ("[objects]\nregion = \"eu\"\n", "t.toml:1:2: [objects].bucket: it is missing"),
    ("[objects]\nbucket = \"b\"\n", "t.toml:1:2: [objects].access_key: a bucket needs it"),
    (
        "[objects]\nbucket = \"b\"\naccess_key = \"a\"\nsecret_key = \"s\"\nendpoint = \"s3.test\"\n",
        "t.toml:5:1: [objects].endpoint: it begins with neither https:// nor http://",
    ),
    (
        "[sounds]\nlargest = \"many\"\n",
        "t.toml:2:11: \"many\" is no size, such as \"32 MiB\" or \"10 GB\"",
    ),
    ("[sounds]\nlongest = \"2h\"\n", "t.toml:2:1: [sounds].longest: not between 1s and 1h"),
    ("[sip\n", "t.toml:1:5: unclosed table, expected `]`"),
    ("node = \"a\"\nnode = \"b\"\n", "t.toml:2:1: duplicate key"),
    ("sip = 5060\n", "t.toml:1:7: invalid type: integer `5060`, expected a section such as [sip]"),
];

const BAD_VARIABLES: &[(&str, &str, &str)] = &[
    ("TENANTD_SIP_UPD", "x", "TENANTD_SIP_UPD: no such key"),
    ("TENANTD_FILE", "x", "TENANTD_FILE: no such key"),
    ("TENANTD_SIP_LANES", "many", "TENANTD_SIP_LANES: \"many\" is no number"),
    (
        "TENANTD_SIP_LANES",
        "70000",
        "TENANTD_SIP_LANES: invalid value: integer `70000`, expected u16",
    ),
    (
        "TENANTD_SIP_UDP",
        "127.0.0.1:1,nonsense",
        "TENANTD_SIP_UDP: \"nonsense\" is no address with a port, such as \"0.0.0.0:5060\" or \"[::]:5060\"",
    ),
    (
        "TENANTD_SIP_UDP",
        "127.0.0.1:1,127.0.0.1:1",
        "TENANTD_SIP_UDP: [sip].udp: 127.0.0.1:1 is listed twice",
    ),
    (
        "TENANTD_DATABASE_URL",
        "hunter2",
        "TENANTD_DATABASE_URL: it does not begin with \"postgres://\"",
    ),
    (
        "TENANTD_DATABASE_URL_FILE",
        "/nonexistent",
        "TENANTD_DATABASE_URL_FILE: /nonexistent: No such file or directory (os error 2)",
    ),
    ("TENANTD_DATA_DIR", "", "TENANTD_DATA_DIR: data_dir: it is empty"),
];

#[test]
fn a_mistake_in_the_file_is_one_line_with_its_place() {
    let (got, wanted): (Vec<String>, Vec<&str>) = BAD_FILES
        .iter()
        .map(|(text, line)| {
            let folder = Folder::new();
            let problem = folder.load(text, &[]).unwrap_err();
            (problem.replace(&folder.prefix(), ""), *line)
        })
        .unzip();
    assert_eq!(got, wanted);
}

#[test]
fn a_mistake_in_the_environment_names_its_variable() {
    for (variable, value, line) in BAD_VARIABLES {
        let problem = Folder::new().load("", &[(variable, value)]).unwrap_err();
        assert_eq!(problem, *line);
    }
}

#[test]
fn a_key_that_is_set_twice_in_the_environment_is_a_mistake() {
    let folder = Folder::new();
    let file = folder.file("level", "debug\n");
    let problem = folder
        .load("", &[("TENANTD_LOG_LEVEL", "info"), ("TENANTD_LOG_LEVEL_FILE", &file)])
        .unwrap_err();
    assert_eq!(problem, "TENANTD_LOG_LEVEL_FILE: TENANTD_LOG_LEVEL sets the same key");
}

#[test]
fn every_variable_leads_to_the_key_of_its_name() {
    // A key that the environment does not know would be missing here from the lists of both.
    let section_keys = |section: &str| -> Vec<String> {
        let text = match section {
            "" => "zzz = 0\n".to_owned(),
            section => format!("[{section}]\nzzz = 0\nzzy = 0\n"),
        };
        let problem = Folder::new().load(&text, &[]).unwrap_err();
        let (_, expected) = problem.split_once("expected ").unwrap();
        expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let sections: Vec<String> = section_keys("").into_iter().skip(4).collect();
    assert_eq!(sections.len(), 13);
    let mut variables: Vec<String> = section_keys("").into_iter().take(4).collect();
    for section in &sections {
        variables.extend(section_keys(section).iter().map(|key| format!("{section}_{key}")));
    }
    assert!(variables.len() > 40, "{variables:?}");
    for variable in variables {
        let variable = format!("TENANTD_{}", variable.to_ascii_uppercase());
        // What a key says of a bad value depends on the key; that it is unknown, none may say.
        if let Err(problem) = Folder::new().load("", &[(&variable, "\u{1}")]) {
            assert!(!problem.ends_with("no such key"), "{problem}");
        }
    }
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let folder = Folder::new();
    let text = "[sip]\nlanes = 2\nudp = [\"127.0.0.1:7\"]\n[log]\nlevel = \"debug\"\n";
    let variables = [
        ("TENANTD_SIP_LANES", "3"),
        ("TENANTD_SIP_TCP", ""),
        ("TENANTD_ROLES", "sip, web"),
        ("TENANTD_POSTGRES_BIN", "/x"),
        ("TENANTD_SERVICE_HOST", "10.0.0.1"),
        ("TENANTD_PORT_5060_UDP", "udp://10.0.0.1:5060"),
    ];

    let config = folder.load(text, &variables).unwrap();

    assert_eq!(config.sip.lanes, 3);
    assert_eq!(config.sip.udp, [Listen("127.0.0.1:7".parse().unwrap())]);
    assert_eq!(config.sip.tcp, []);
    assert_eq!(config.roles, [Role::Sip, Role::Web]);
    assert_eq!(config.log.level, Level::Debug);
    assert_eq!(config.sip.unknown_domain, UnknownDomain::Drop);
}

#[test]
fn a_secret_can_come_from_a_file_and_is_never_shown() {
    let folder = Folder::new();
    let file = folder.file("url", "postgres://node:hunter2@h/d\n");

    let config = folder.load("", &[("TENANTD_DATABASE_URL_FILE", &file)]).unwrap();

    let shown = format!("{config:?}");
    assert_eq!(config.database.url.unwrap().0, "postgres://node:hunter2@h/d");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn what_is_not_built_yet_is_named() {
    assert!(Folder::new().load("", &[]).unwrap().unbuilt().is_empty());
    let text = "[sip]\nws = [\"127.0.0.1:5080\"]\n[mail]\nsmtp_url = \"smtp://localhost\"\n";
    let config = Folder::new().load(text, &[]).unwrap();
    assert_eq!(config.unbuilt(), ["[sip].ws", "[mail].smtp_url"]);
}

#[test]
fn plain_pages_are_for_loopback_or_behind_a_proxy() {
    let plain = |text: &str| Folder::new().load(text, &[]).unwrap().plain_pages().len();
    let open = "[web]\nhttp = [\"127.0.0.1:80\", \"[::1]:80\", \"0.0.0.0:80\"]\n";
    assert_eq!(plain(""), 0);
    assert_eq!(plain(open), 1);
    assert_eq!(plain(&format!("{open}trusted_proxies = [\"10.0.0.1\"]\n")), 0);
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let path = PathBuf::from("/nonexistent/t.toml");
    let problem = load(Base::Serve, Some(&path), []).unwrap_err();
    assert_eq!(problem.to_string(), "/nonexistent/t.toml: No such file or directory (os error 2)");
}

/// A folder of one test's own, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tenantd-config-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn prefix(&self) -> String {
        format!("{}/", self.0.display())
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn load(&self, text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        let path = PathBuf::from(self.file("t.toml", text));
        let variables = variables.iter().map(|(n, v)| (OsString::from(n), OsString::from(v)));
        load(Base::Serve, Some(&path), variables).map_err(|problem| problem.to_string())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
