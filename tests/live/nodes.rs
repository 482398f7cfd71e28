//! Two servers on one Postgres: a phone on one, its company's home on the other; a home that is
//! killed, a Postgres that is stopped, a company that is deleted.

use std::fs;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kit::baresip::{self, Over, Phone, Setup};
use kit::browser::Browser;
use kit::cluster::{Caller, Cluster, Places};
use kit::company::Company;
use kit::failure::{Failure, Outcome};
use kit::handset::{Handset, status};
use kit::line::Line;
use kit::scene::{Scene, play};
use kit::wait::{self, SOON, START};
use nix::sys::signal::Signal;

/// A company with one extension more, for a program that calls.
fn alpha() -> Company {
    let mut company = Company::new("alpha.test");
    let password = company.password("104");
    company.tables = format!(
        "[[tenant.extension]]\nnumber = \"104\"\npassword = \"{password}\"\n\
         digest = [\"SHA-256\"]\n"
    );
    company
}

/// A phone of a company that reaches this node.
fn phone(
    scene: &mut Scene,
    cluster: &Cluster,
    company: &Company,
    number: &str,
    (node, tone): (usize, u32),
) -> Outcome<Phone> {
    Phone::registered(scene, &Setup::new(company, number, cluster.nodes[node].at.sip, tone))
}

#[test]
fn phones_of_one_company_on_two_nodes_call_each_other() {
    play("nodes", |scene| {
        let (alpha, beta) = (Company::new("alpha.test"), Company::new("beta.test"));
        let cluster = Cluster::start(scene, &[&alpha, &beta])?;
        let Places { home, edge } = cluster.places(&alpha)?;
        let mut ada = phone(scene, &cluster, &alpha, "101", (edge, 440))?;
        let mut bob = phone(scene, &cluster, &alpha, "102", (home, 700))?;
        let mut twins = vec![];
        for (number, node) in [("101", home), ("102", edge)] {
            twins.push(phone(scene, &cluster, &beta, number, (node, 1_000))?);
        }
        baresip::converse(&mut ada, "102", &mut bob)?;
        baresip::converse(&mut bob, "101", &mut ada)?;
        for mut twin in twins {
            assert_eq!(twin.disturbance()?, None);
        }
        for node in &cluster.nodes {
            assert_eq!(node.admin("/readyz")?.status, 200);
            assert!(node.metric("tenantd_link_frames_sent_total")? > 0.0);
            assert!(node.metric("tenantd_link_frames_received_total")? > 0.0);
            assert_eq!(node.metric("tenantd_link_frames_dropped_total{reason=\"full\"}")?, 0.0);
        }
        let tenants: Outcome<Vec<f64>> =
            cluster.nodes.iter().map(|node| node.metric("tenantd_tenants")).collect();
        assert_eq!(tenants?.iter().sum::<f64>(), 2.0, "each company has one home");
        Ok(())
    });
}

#[test]
fn connections_to_another_node_are_used_and_missed_when_they_break() {
    play("away", |scene| {
        let alpha = Company::new("alpha.test");
        let cluster = Cluster::start(scene, &[&alpha])?;
        let Places { home, edge } = cluster.places(&alpha)?;
        let (at_home, at_edge) = (cluster.nodes[home].at.sip, cluster.nodes[edge].at.sip);
        let over = Over::Tcp;
        let ada = Setup { over, ..Setup::new(&alpha, "101", at_edge, 440) };
        let mut ada = Phone::registered(scene, &ada)?;
        let mut bob = Phone::registered(scene, &Setup::new(&alpha, "102", at_home, 700))?;
        baresip::converse(&mut ada, "102", &mut bob)?;
        baresip::briefly(&mut bob, "101", &mut ada)?;

        let mut carl = Handset::new(&alpha, "103", Line::tcp(at_edge)?);
        carl.register(600)?;
        drop(carl);
        let disconnected = "tenantd_registrations_disconnected_total";
        cluster.nodes[home].wait_for_metric(disconnected, 1.0, SOON)?;
        let mut caller = Handset::new(&alpha, "102", Line::udp(at_home)?);
        let began_at = Instant::now();
        let sound = SocketAddr::from(([127, 0, 0, 1], scene.ports.one()?));
        let refusal = caller.invite("sip:103@alpha.test", sound)?;
        assert_eq!(status(&refusal), 480, "{refusal}");
        assert!(began_at.elapsed() < Duration::from_secs(3), "nobody waits for an answer");
        Ok(())
    });
}

#[test]
fn a_call_between_two_companies_crosses_between_nodes() {
    play("across", |scene| {
        let (mut alpha, mut beta) = (Company::new("alpha.test"), Company::new("beta.test"));
        for (company, number) in [(&mut alpha, "+4311"), (&mut beta, "+4322")] {
            company.tables = format!("[[tenant.number]]\nnumber = \"{number}\"\nto = \"101\"\n");
        }
        let mut cluster = Cluster::start(scene, &[&alpha, &beta])?;
        part(&mut cluster, &alpha, &beta)?;
        let Places { home, edge } = cluster.places(&alpha)?;
        let mut ada = phone(scene, &cluster, &alpha, "101", (home, 440))?;
        let mut bob = phone(scene, &cluster, &beta, "101", (edge, 700))?;
        baresip::converse(&mut ada, "+4322", &mut bob)
    });
}

/// Sees to it that two companies live on different nodes: whichever they were dealt out to.
fn part(cluster: &mut Cluster, alpha: &Company, beta: &Company) -> Outcome {
    if cluster.places(alpha)? == cluster.places(beta)? {
        let other = cluster.places(beta)?.edge + 1;
        let sql = format!(
            "UPDATE lease SET node = 'n{other}', epoch = epoch + 1 FROM domain d \
             WHERE d.tenant_id = lease.tenant_id AND d.name = '{}'",
            beta.domain
        );
        cluster.ask(|urls| &urls.node, &sql)?;
    }
    // Whoever is named takes it, as after a restart; the other lets it go.
    cluster.settle(&[alpha, beta])
}

#[test]
fn when_the_home_is_killed_calls_work_again_within_five_seconds() {
    play("takeover", |scene| {
        let (alpha, beta) = (alpha(), Company::new("beta.test"));
        let mut cluster = Cluster::start(scene, &[&alpha, &beta])?;
        let Places { home, edge } = cluster.places(&alpha)?;
        let mut ada = phone(scene, &cluster, &alpha, "101", (edge, 440))?;
        let mut bob = phone(scene, &cluster, &alpha, "102", (edge, 700))?;
        let _carl = phone(scene, &cluster, &alpha, "103", (edge, 900))?;
        let mut twin = phone(scene, &cluster, &beta, "102", (edge, 1_000))?;
        ada.dial("102")?;
        bob.wait_for("CALL_ESTABLISHED")?;
        // What Postgres does not know yet went down with the home's disk.
        wait::until("the call's facts in Postgres", SOON, || {
            let facts = cluster.ask(|urls| &urls.node, "SELECT count(*) FROM live_call")?;
            Ok((facts == "1").then_some(()))
        })?;
        let server = cluster.nodes[edge].at.sip;
        let caller = Caller { company: &alpha, number: "104", server };
        caller.call_until_answered("103", SOON)?;

        cluster.nodes[home].cut_off()?;
        let took = caller.call_until_answered("103", SOON)?;
        println!("a call was answered {:.2} s after the home was killed", took.as_secs_f64());
        assert!(took < Duration::from_secs(5), "{took:?}");

        // The call that went down with it is over for both, and is noted.
        ada.wait_for("CALL_CLOSED")?;
        bob.wait_for("CALL_CLOSED")?;
        let story = "SELECT ending FROM call WHERE dialled = '102' AND story::text ~ 'NodeLost'";
        wait::until("the record of the lost call", SOON, || {
            Ok((cluster.ask(|urls| &urls.node, story)? == "ServerStopped").then_some(()))
        })?;
        baresip::converse(&mut ada, "102", &mut bob)?;
        assert_eq!(twin.disturbance()?, None);

        // It comes back as an edge, and takes nothing back.
        cluster.nodes[home].run()?;
        cluster.wait_for_links(1.0)?;
        assert_eq!(cluster.places(&alpha)?, Places { home: edge, edge: home });
        let mut dora =
            Phone::start(scene, &Setup::new(&alpha, "101", cluster.nodes[home].at.sip, 500))?;
        dora.wait_until_registered()?;
        baresip::briefly(&mut dora, "102", &mut bob)
    });
}

#[test]
fn a_page_of_any_node_shows_a_companys_phones_and_calls_or_says_that_its_home_is_away() {
    play("boards", |scene| {
        let (alpha, beta) = (Company::new("alpha.test"), Company::new("beta.test"));
        let mut cluster = Cluster::start(scene, &[&alpha, &beta])?;
        let Places { home, edge } = cluster.places(&alpha)?;
        let mut ada = phone(scene, &cluster, &alpha, "101", (edge, 440))?;
        let mut bob = phone(scene, &cluster, &alpha, "102", (edge, 700))?;
        let _twin = phone(scene, &cluster, &beta, "101", (edge, 1_000))?;
        let rows = |count: usize| {
            format!("document.querySelectorAll('#live tbody tr').length === {count}")
        };
        let mut browser = Browser::start(scene)?;
        let page = format!("http://{}/", cluster.nodes[edge].at.web);
        let (email, password) = alpha.admin();
        browser.sign_in(&page, (&email, &password))?;
        browser.wait_for(&rows(2))?;

        ada.dial("102")?;
        bob.wait_for("CALL_ESTABLISHED")?;
        browser.wait_for(&rows(3))?;
        browser.wait_for_text("talking")?;
        ada.hang_up()?;
        bob.wait_for("CALL_CLOSED")?;
        browser.wait_for(&rows(2))?;

        // Its home becomes the node that is looked at, and what was seen from afar is not in the way.
        cluster.nodes[home].cut_off()?;
        wait::until("the other as its home", SOON, || {
            Ok((cluster.places(&alpha)?.home == edge).then_some(()))
        })?;
        ada.dial("102")?;
        bob.wait_for("CALL_ESTABLISHED")?;
        browser.wait_for(&rows(3))?;

        // And the other way round.
        cluster.nodes[home].run()?;
        cluster.wait_for_links(1.0)?;
        let page = format!("http://{}/login", cluster.nodes[home].at.web);
        browser.sign_in(&page, (&email, &password))?;
        browser.wait_for(&rows(3))?;

        // It goes on living there, but cannot be reached any more.
        let config = cluster.nodes[edge].config_file();
        let text = fs::read_to_string(&config)?;
        fs::write(&config, text.replace("[link]\nlisten", "[link]\n# listen"))?;
        cluster.nodes[edge].strike()?;
        cluster.nodes[edge].run()?;
        browser.wait_for_text("cannot be seen at present")?;
        assert_eq!(cluster.places(&alpha)?.home, edge);
        Ok(())
    });
}

#[test]
fn a_node_that_drains_leaves_new_companies_to_the_other() {
    play("drains", |scene| {
        let alpha = Company::new("alpha.test");
        let mut cluster = Cluster::start(scene, &[&alpha])?;
        let Places { home, edge } = cluster.places(&alpha)?;
        let mut ada = phone(scene, &cluster, &alpha, "101", (edge, 440))?;
        let mut bob = phone(scene, &cluster, &alpha, "102", (edge, 700))?;
        ada.dial("102")?;
        bob.wait_for("CALL_ESTABLISHED")?;
        // The call holds it up for as long as it may drain.
        cluster.nodes[home].running()?.signal(Signal::SIGTERM)?;
        wait::until("a node that drains", SOON, || {
            Ok((cluster.nodes[home].admin("/readyz")?.status == 503).then_some(()))
        })?;
        let names = ["b.test", "c.test", "d.test", "e.test", "f.test", "g.test"];
        let late: Vec<Company> = names.into_iter().map(Company::new).collect();
        let text: String = late.iter().map(Company::provisioning).collect();
        cluster.nodes[edge].apply(&text, &[])?;
        for company in &late {
            let places = wait::until("a home", SOON, || Ok(cluster.places(company).ok()))?;
            assert_eq!(places.home, edge, "{}", company.domain);
        }
        assert_eq!(cluster.places(&alpha)?.home, home, "it was still draining");
        Ok(())
    });
}

#[test]
fn without_postgres_both_serve_on_and_nobody_is_taken_over() {
    play("outage", |scene| {
        let alpha = alpha();
        let mut cluster = Cluster::start(scene, &[&alpha])?;
        let Places { home, edge } = cluster.places(&alpha)?;
        let mut ada = phone(scene, &cluster, &alpha, "101", (edge, 440))?;
        let mut bob = phone(scene, &cluster, &alpha, "102", (home, 700))?;
        cluster.stop_postgres()?;
        let stopped_at = Instant::now();
        while stopped_at.elapsed() < Duration::from_secs(10) {
            ada.dial("102")?;
            bob.wait_for("CALL_ESTABLISHED")?;
            ada.wait_for("CALL_ESTABLISHED")?;
            ada.wait_for_sound(50)?;
            ada.hang_up()?;
            bob.wait_for("CALL_CLOSED")?;
            ada.wait_for("CALL_CLOSED")?;
        }
        for node in &cluster.nodes {
            let ready = node.admin("/readyz")?;
            assert!(ready.status == 200 && ready.body.contains("degraded"), "{}", ready.body);
        }
        cluster.start_postgres(scene)?;
        for node in &cluster.nodes {
            wait::until("/readyz saying ok", START, || {
                Ok((node.admin("/readyz")?.body.trim() == "ok").then_some(()))
            })?;
        }
        // Whoever was back first must not have taken the other for dead.
        wait::unless(Duration::from_secs(5), || {
            let now = cluster.places(&alpha)?;
            Ok((now != Places { home, edge }).then(|| format!("alpha moved: {now:?}")))
        })?;
        ada.dial("102")?;
        bob.wait_for("CALL_ESTABLISHED").map(drop)
    });
}

#[test]
fn a_company_that_is_deleted_is_gone_from_both_nodes_and_its_calls_end() {
    play("deleted", |scene| {
        let (alpha, beta) = (Company::new("alpha.test"), Company::new("beta.test"));
        let cluster = Cluster::start(scene, &[&alpha, &beta])?;
        let Places { home, edge } = cluster.places(&alpha)?;
        let mut ada = phone(scene, &cluster, &alpha, "101", (edge, 440))?;
        let mut bob = phone(scene, &cluster, &alpha, "102", (home, 700))?;
        let mut twin = phone(scene, &cluster, &beta, "101", (edge, 440))?;
        ada.dial("102")?;
        bob.wait_for("CALL_ESTABLISHED")?;

        // There is no command for it yet.
        let delete = "DELETE FROM tenant WHERE name = 'alpha.test'";
        cluster.ask(|urls| &urls.provider, delete)?;

        ada.wait_for("CALL_CLOSED")?;
        bob.wait_for("CALL_CLOSED")?;
        wait::until("one company in all", SOON, || {
            let tenants: Outcome<Vec<f64>> =
                cluster.nodes.iter().map(|node| node.metric("tenantd_tenants")).collect();
            Ok((tenants?.iter().sum::<f64>() == 1.0).then_some(()))
        })?;
        for node in [home, edge] {
            let late =
                Phone::start(scene, &Setup::new(&alpha, "103", cluster.nodes[node].at.sip, 440))?;
            sleep(Duration::from_millis(700));
            let answers = late.messages_with("SIP/2.0 ");
            if answers > 0 {
                return Err(Failure::new("a company that is gone was answered for"));
            }
        }
        assert_eq!(twin.disturbance()?, None);
        Ok(())
    });
}
