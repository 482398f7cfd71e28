//! A small internet in network namespaces, gone with the test: hosts with public addresses, and
//! routers of every kind with a private network behind each.
//!
//! RFC 4787 §4.1 and §5 name what routers do. All private networks have the same addresses on
//! purpose, as they have in life. Needs root; where that is not allowed, a test says so and is over.

use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns};

use crate::alg;
use crate::failure::{Failure, Outcome};

/// The address of every phone behind a router.
pub const PHONE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The internet of one test: a bridge that everything hangs on.
#[derive(Debug)]
pub struct Internet {
    tag: String,
    wan: Namespace,
    inside: Vec<Namespace>,
    algs: Vec<alg::Alg>,
}

/// A host, or a router, with a network stack of its own.
#[derive(Debug, Clone)]
pub struct Namespace {
    name: String,
}

/// What a router does.
#[derive(Debug, Clone, Copy)]
pub struct Router {
    /// Who is let in.
    pub nat: Nat,
    /// For how many seconds it remembers a phone that nothing passes from or to.
    pub remembers_s: u32,
    /// Of a hundred datagrams it loses so many.
    pub loss_percent: u32,
    /// Whether it rewrites SIP.
    pub alg: Alg,
}

/// Who is let in through a router (RFC 3489 §5 has these names).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// Whom the phone has written to, from where it has.
    PortRestricted,
    /// The same, and each of them sees the phone at another port.
    Symmetric,
    /// Everybody.
    FullCone,
}

/// Whether a router rewrites SIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alg {
    /// It does: the kernel's own helper, where there is one.
    Kernel,
    /// It does what [`crate::alg`] does to whatever is for this server.
    Ours(SocketAddr),
    /// It does not.
    Off,
}

impl Router {
    /// One that remembers for 30 s and does no harm.
    pub fn new(nat: Nat) -> Self {
        Self { nat, remembers_s: 30, loss_percent: 0, alg: Alg::Off }
    }
}

impl Internet {
    /// Makes one. `None`: this machine does not let us, which is said.
    ///
    /// # Errors
    /// If it lets us, but something else goes wrong.
    pub fn new() -> Outcome<Option<Self>> {
        let tag = format!("tenantd{}n{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let wan = match Namespace::add(format!("{tag}-wan")) {
            Ok(wan) => wan,
            Err(failure) => {
                eprintln!("SKIPPED: this machine lets us make no network: {failure}");
                return Ok(None);
            }
        };
        let internet = Self { tag, wan, inside: vec![], algs: vec![] };
        internet.wan.ip("link add wan type bridge")?;
        internet.wan.ip("link set wan up")?;
        Ok(Some(internet))
    }

    /// A host in the open.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn host(&mut self, name: &str, address: Ipv4Addr) -> Outcome<Namespace> {
        let host = Namespace::add(format!("{}-{name}", self.tag))?;
        self.inside.push(host.clone());
        self.wan.join(name, &host, "wan", &format!("{address}/24"))?;
        Ok(host)
    }

    /// A phone at 192.168.1.10 behind a router with this public address.
    ///
    /// # Errors
    /// If they cannot be made, or the kernel lacks what the router needs.
    pub fn behind(&mut self, name: &str, address: Ipv4Addr, router: Router) -> Outcome<Namespace> {
        let outside = format!("r{name}");
        let place = self.host(&outside, address)?;
        let phone = Namespace::add(format!("{}-{name}", self.tag))?;
        self.inside.push(phone.clone());
        place.ip("link add lan type bridge")?;
        place.ip("addr add 192.168.1.1/24 dev lan")?;
        place.ip("link set lan up")?;
        place.join(name, &phone, "lan", &format!("{PHONE}/24"))?;
        phone.ip("route add default via 192.168.1.1")?;
        place.nft(&rules(&router))?;
        let remembers = router.remembers_s.to_string();
        place.inside(|| {
            let of_udp = "/proc/sys/net/netfilter/nf_conntrack_udp_timeout";
            fs::write(of_udp, &remembers)?;
            fs::write(format!("{of_udp}_stream"), &remembers)?;
            Ok(fs::write("/proc/sys/net/ipv4/ip_forward", "1")?)
        })?;
        if let Alg::Ours(server) = router.alg {
            self.algs.push(place.inside(|| alg::Alg::start(address, server))?);
        }
        Ok(phone)
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        self.algs.clear();
        for namespace in self.inside.iter().chain([&self.wan]) {
            // What is left over is seen with `ip netns`, and harms nobody.
            let _ = run(&["netns", "del", &namespace.name]);
        }
    }
}

impl Namespace {
    fn add(name: String) -> Outcome<Self> {
        run(&["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Does something with this namespace's network. What it opens and starts stays there.
    ///
    /// # Errors
    /// If the namespace cannot be entered, or with what `act` says.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> Outcome<T> + Send) -> Outcome<T> {
        let here = File::open(format!("/run/netns/{}", self.name))?;
        // Only the thread that enters it is inside.
        let done = std::thread::scope(|scope| {
            let inside = move || -> Outcome<T> {
                setns(&here, CloneFlags::CLONE_NEWNET)?;
                act()
            };
            scope.spawn(inside).join()
        });
        done.map_err(|_| Failure::new(format!("a thread in {} has panicked", self.name)))?
    }

    /// Pulls its cable: nobody hears of it, and nothing comes or goes any more.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn unplug(&self) -> Outcome {
        self.ip("link set eth0 down")
    }

    /// A cable from a bridge of ours to `other`, whose end there is `eth0`.
    fn join(&self, name: &str, other: &Self, bridge: &str, address: &str) -> Outcome {
        let (port, there) = (format!("p{name}"), &other.name);
        self.ip(&format!("link add {port} type veth peer name eth0 netns {there}"))?;
        self.ip(&format!("link set {port} master {bridge} up"))?;
        other.ip(&format!("addr add {address} dev eth0"))?;
        other.ip("link set eth0 up")
    }

    fn ip(&self, arguments: &str) -> Outcome {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments.split(' '));
        run(&all)
    }

    fn nft(&self, rules: &str) -> Outcome {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "nft", "-f", "-"]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(rules.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(Failure::new(format!("nft: {}", said(&output.stderr)))),
        }
    }
}

fn run(arguments: &[&str]) -> Outcome {
    let output = Command::new("ip").args(arguments).output()?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let words = format!("ip {}: {}", arguments.join(" "), said(&output.stderr));
            Err(Failure::new(words))
        }
    }
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().replace('\n', "; ")
}

const KERNELS: &str = "ct helper sip5060 { type \"sip\" protocol udp; }\n\
    chain alg { type filter hook prerouting priority 0;\n\
    udp dport 5060 ct helper set \"sip5060\"\n}";

/// The kernel's own NAT is port restricted. `fully-random` draws a port for each peer; a full cone
/// hands everything to its only phone.
fn rules(router: &Router) -> String {
    let masquerade = match router.nat {
        Nat::PortRestricted | Nat::FullCone => "masquerade",
        Nat::Symmetric => "masquerade fully-random",
    };
    let (cone, cone_in) = match router.nat {
        Nat::FullCone => (
            format!("iifname eth0 udp dport 1024-65535 dnat to {PHONE}"),
            "ct status dnat accept".to_owned(),
        ),
        Nat::PortRestricted | Nat::Symmetric => (String::new(), String::new()),
    };
    let loss = match router.loss_percent {
        0 => String::new(),
        percent => format!("meta l4proto udp numgen random mod 100 < {percent} drop"),
    };
    let rewriting = match router.alg {
        Alg::Ours(_) => format!("iifname lan udp dport 5060 redirect to :{}", alg::PORT),
        Alg::Off | Alg::Kernel => String::new(),
    };
    let helper = match router.alg {
        Alg::Kernel => KERNELS,
        Alg::Off | Alg::Ours(_) => "",
    };
    format!(
        "table ip nat {{\n{helper}\n\
         chain before {{ type nat hook prerouting priority -100;\n{rewriting}\n{cone}\n}}\n\
         chain after {{ type nat hook postrouting priority 100;\noifname eth0 {masquerade}\n}}\n\
         chain between {{ type filter hook forward priority 0; policy drop;\n{loss}\n\
         iifname lan accept\nct state established,related accept\n{cone_in}\n}}\n}}\n"
    )
}
