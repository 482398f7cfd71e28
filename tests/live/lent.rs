//! A sound that waits for the object store on one node is heard on the other.

use std::fs;

use kit::baresip::{Phone, Setup};
use kit::cluster::{Cluster, Places};
use kit::company::Company;
use kit::failure::Outcome;
use kit::s3::{Fault, S3};
use kit::scene::play;
use kit::tone;
use kit::wait::{self, SOON, START};

const RATE: u32 = 44_100;
const HZ: f64 = 850.0;

/// Until both nodes serve what was applied last.
fn taken_over(cluster: &Cluster) -> Outcome {
    let behind = "SELECT count(*) FROM node n CROSS JOIN tenant t \
                  LEFT JOIN node_tenant s ON s.node = n.name AND s.tenant_id = t.id \
                  WHERE EXISTS (SELECT FROM domain d WHERE d.tenant_id = t.id) \
                  AND coalesce(s.version, 0) < t.version";
    wait::until("both nodes' taking it over", SOON, || {
        Ok((cluster.ask(|urls| &urls.provider, behind)? == "0").then_some(()))
    })
}

#[test]
fn while_the_store_is_away_a_sound_that_waits_on_one_node_is_heard_on_the_other() {
    play("lent", |scene| {
        let s3 = S3::start(&scene.folder)?;
        let mut alpha = Company::new("alpha.test");
        let cluster = Cluster::start_with(scene, &[&alpha], &s3.config())?;
        let Places { home, edge } = cluster.places(&alpha)?;

        s3.suffer(Fault::Away);
        let file = scene.folder.path().join("closed.wav");
        tone::sine(RATE, HZ, RATE as usize * 3).write(&file)?;
        alpha.tables = format!(
            "[[tenant.sound]]\nname = \"closed\"\nfile = {file:?}\n\
             [[tenant.announcement]]\nnumber = \"700\"\nsound = \"closed\"\n"
        );
        let output = cluster.nodes[edge].apply(&alpha.provisioning(), &["--wait", "1s"])?;
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
        taken_over(&cluster)?;
        let waiting = |node: usize| -> Outcome<usize> {
            Ok(fs::read_dir(cluster.nodes[node].data_file("outbox"))?.count())
        };
        assert_eq!((waiting(edge)?, waiting(home)?), (1, 0));

        let mut ada =
            Phone::registered(scene, &Setup::new(&alpha, "101", cluster.nodes[home].at.sip, 440))?;
        ada.dial("700")?;
        ada.wait_for("CALL_ESTABLISHED")?;
        ada.wait_for("CALL_CLOSED")?;
        ada.check_heard(HZ)?;
        assert_eq!(cluster.nodes[home].metric("tenantd_sounds_missing_total")?, 0.0);
        assert_eq!((waiting(edge)?, s3.keys()?.len()), (1, 0), "the store had it");

        s3.suffer(Fault::None);
        wait::until("the sound's arrival", START, || Ok((s3.keys()?.len() == 1).then_some(())))?;
        wait::until("an empty outbox", SOON, || Ok((waiting(edge)? == 0).then_some(())))
    });
}
