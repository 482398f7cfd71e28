//! Two servers on one Postgres, each on an address of its own, linked, with one cluster key.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::company::Company;
use crate::digest::{Login, answer_sha256};
use crate::failure::{Failure, Outcome};
use crate::listeners::Listeners;
use crate::ports::Ports;
use crate::postgres::Postgres;
use crate::probe::Probe;
use crate::scene::Scene;
use crate::server::Server;
use crate::wait::{self, SOON};

/// Two linked servers. Dropping it kills them and stops their Postgres.
#[derive(Debug)]
pub struct Cluster {
    /// The servers, named `n1` and `n2`.
    pub nodes: Vec<Server>,
    /// `None` while it is stopped.
    postgres: Option<Postgres>,
    /// What the servers' files and ports are in.
    scenes: Vec<Scene>,
}

/// Which node has a tenant, and which has not, by their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// The home.
    pub home: usize,
    /// The other.
    pub edge: usize,
}

impl Cluster {
    /// Starts both, with these companies, and waits until they are linked and both know
    /// where everybody lives.
    ///
    /// # Errors
    /// If anything is not there in time.
    pub fn start(scene: &Scene, companies: &[&Company]) -> Outcome<Self> {
        Self::start_with(scene, companies, "")
    }

    /// The same, with `more` in both configurations.
    ///
    /// # Errors
    /// If anything is not there in time.
    pub fn start_with(scene: &Scene, companies: &[&Company], more: &str) -> Outcome<Self> {
        let played = &scene.folder;
        let postgres = Postgres::start(&scene.folder)?;
        let key = scene.folder.write("cluster.key", &format!("{}\n", "5a".repeat(32)))?;
        let mut cluster = Self { nodes: vec![], postgres: Some(postgres), scenes: vec![] };
        for number in 1..=2_u8 {
            let folder = scene.folder.inside(&format!("n{number}"))?;
            let mut scene = Scene { folder, ports: Ports::claim()? };
            let mut at = Listeners::new(&mut scene)?;
            let ip = IpAddr::from([127, 0, 0, number]);
            at.sip.set_ip(ip);
            let link = SocketAddr::new(ip, scene.ports.one()?);
            let database = cluster.postgres()?.config();
            let more = format!(
                "{database}[secrets]\nkey_file = {key:?}\n[link]\nlisten = [\"{link}\"]\n{more}"
            );
            let mut server = Server::prepare(&scene.folder, at, &more)?;
            server.report_to(played);
            let config = fs::read_to_string(server.config_file())?;
            let config = config.replace("tcp = []", &format!("tcp = [\"{}\"]", at.sip));
            fs::write(server.config_file(), format!("node = \"n{number}\"\n{config}"))?;
            server.run()?;
            cluster.nodes.push(server);
            cluster.scenes.push(scene);
        }
        cluster.wait_for_links(1.0)?;
        cluster.nodes[0].provision(companies)?;
        for company in companies {
            wait::until("a home for every company", SOON, || {
                Ok(cluster.holder(company)?.map(drop))
            })?;
        }
        cluster.settle(companies)?;
        Ok(cluster)
    }

    /// Waits until every node serves the companies that it has, and knows where these live.
    ///
    /// # Errors
    /// If one does not in time.
    pub fn settle(&self, companies: &[&Company]) -> Outcome {
        const TENANTS: &str = "tenantd_tenants";
        for (node, number) in self.nodes.iter().zip(1..) {
            let sql = format!("SELECT count(*) FROM lease WHERE node = 'n{number}'");
            wait::until("a node that serves what it has", SOON, || {
                let had: f64 = self.ask(|urls| &urls.node, &sql)?.parse()?;
                // The company next door may live on either, and is left out of the first's.
                let served = node.metric(TENANTS)? + node.next_door(TENANTS);
                Ok((served == had).then_some(()))
            })?;
        }
        for (node, company) in self.nodes.iter().flat_map(|n| companies.iter().map(move |c| (n, c)))
        {
            wait::until("a node that knows every home", SOON, || knows(node.at.sip, company))?;
        }
        Ok(())
    }

    /// Waits until every running node has so many links.
    ///
    /// # Errors
    /// If they have not in time.
    pub fn wait_for_links(&self, links: f64) -> Outcome {
        self.nodes.iter().try_for_each(|node| node.wait_for_metric("tenantd_links", links, SOON))
    }

    /// Where a company lives.
    ///
    /// # Errors
    /// If it lives nowhere, or Postgres does not tell.
    pub fn places(&self, company: &Company) -> Outcome<Places> {
        match self.holder(company)?.as_deref() {
            Some("n1") => Ok(Places { home: 0, edge: 1 }),
            Some("n2") => Ok(Places { home: 1, edge: 0 }),
            other => Err(Failure::new(format!("{} lives at {other:?}", company.domain))),
        }
    }

    /// Has Postgres answer as one of its roles.
    ///
    /// # Errors
    /// With what it says against it.
    pub fn ask(&self, url: impl Fn(&store::Urls) -> &str, script: &str) -> Outcome<String> {
        let urls = self.postgres()?.urls();
        let arguments = [url(urls), "-qtAX", "-v", "ON_ERROR_STOP=1", "-c", script];
        let output = Command::new("psql").args(arguments).output()?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(Failure::new(String::from_utf8_lossy(&output.stderr))),
        }
    }

    /// Stops Postgres; both nodes run on.
    ///
    /// # Errors
    /// If it does not end.
    pub fn stop_postgres(&mut self) -> Outcome {
        self.postgres.take().map_or(Ok(()), Postgres::stop)
    }

    /// Starts it again.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start_postgres(&mut self, scene: &Scene) -> Outcome {
        self.postgres = Some(Postgres::start(&scene.folder)?);
        Ok(())
    }

    fn postgres(&self) -> Outcome<&Postgres> {
        self.postgres.as_ref().ok_or_else(|| Failure::new("Postgres does not run"))
    }

    fn holder(&self, company: &Company) -> Outcome<Option<String>> {
        let sql = format!(
            "SELECT l.node FROM lease l JOIN domain d ON d.tenant_id = l.tenant_id \
             WHERE d.name = '{}'",
            company.domain
        );
        let node = self.ask(|urls| &urls.node, &sql)?;
        Ok((!node.is_empty()).then_some(node))
    }
}

/// Whether a REGISTER with a false proof, which only its home can judge, is answered by way of this
/// node. By datagram, because what comes over a connection too early is refused at once.
fn knows(server: SocketAddr, company: &Company) -> Outcome<Option<()>> {
    let (mut probe, domain) = (Probe::new()?, company.domain);
    let register =
        probe.request("REGISTER", &format!("sip:{domain}"), &format!("sip:101@{domain}"))?;
    let proof = "Authorization: Digest nonsense\r\nContent-Length: 0";
    probe.send(server, register.replace("Content-Length: 0", proof).as_bytes())?;
    Ok(probe.answer(Duration::from_millis(300))?.map(drop))
}

/// A user whose calls are tried again and again, as a program would: it proves its password with
/// SHA-256, which its extension must offer.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// The company.
    pub company: &'a Company,
    /// The extension.
    pub number: &'a str,
    /// Where it sends everything.
    pub server: SocketAddr,
}

impl Caller<'_> {
    /// Calls until somebody answers; how long that took.
    ///
    /// # Errors
    /// If nobody does in time.
    pub fn call_until_answered(&self, dialled: &str, within: Duration) -> Outcome<Duration> {
        let began_at = Instant::now();
        let mut last = "nothing".to_owned();
        while began_at.elapsed() < within {
            match self.call(dialled)? {
                Some(status) if status == "200" => return Ok(began_at.elapsed()),
                Some(status) => last = status,
                None => {}
            }
        }
        Err(Failure::new(format!("no answer within {within:?}, but {last}")))
    }

    /// Calls once, and waits a moment: the final status, if it comes.
    fn call(&self, dialled: &str) -> Outcome<Option<String>> {
        let Self { company: Company { domain, .. }, number, server } = self;
        let mut probe = Probe::new()?;
        let target = format!("sip:{dialled}@{domain}");
        let ask =
            |probe: &mut Probe| probe.request("INVITE", &target, &format!("sip:{number}@{domain}"));
        let first = ask(&mut probe)?;
        probe.send(*server, first.as_bytes())?;
        let Some(challenge) = probe.answer(Duration::from_millis(100))? else { return Ok(None) };
        let password = self.company.password(number);
        let login = Login { user: number, password: &password };
        let proof = answer_sha256(&challenge, "INVITE", &target, &login)?;
        let at = probe.address()?;
        let body = format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 0 8\r\n",
            ip = at.ip(),
            port = at.port()
        );
        let second = ask(&mut probe)?.replace(
            "Content-Length: 0\r\n\r\n",
            &format!(
                "Proxy-Authorization: {proof}\r\nContent-Type: application/sdp\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        );
        probe.send(*server, second.as_bytes())?;
        let until = Instant::now() + Duration::from_millis(300);
        while let Some(answer) = probe.answer(until.saturating_duration_since(Instant::now()))? {
            let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
            if !status.starts_with('1') {
                return Ok(Some(status));
            }
        }
        Ok(None)
    }
}
