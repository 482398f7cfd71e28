//! Calls that last: ringing that is confirmed, sessions that are refreshed, and calls kept alive.

use kit::company::Company;
use kit::scene::play;
use kit::server::Server;
use kit::sipp::{self, Sipp};
use kit::wait::SOON;

#[test]
fn phones_confirm_ringing_refresh_their_session_and_change_it_by_update() {
    play("dialogs", |scene| {
        let (alpha, beta) = (Company::new("alpha.test"), Company::new("beta.test"));
        let server = Server::start_with(scene, &[&alpha, &beta])?;
        let (callee, caller, (sound, _)) =
            (scene.ports.one()?, scene.ports.one()?, scene.ports.many(2)?);
        let domain = ("domain", alpha.domain.to_owned());
        let sound = ("sound", sound.to_string());
        let register = sipp::Setup {
            scenario: "register",
            server: server.at.sip,
            port: callee,
            keys: vec![domain.clone(), ("expires", "600".to_owned())],
            rows: vec![sipp::user(&alpha, "102")],
            calls: 1,
        };
        Sipp::play(scene, &register, SOON)?;
        let answer = sipp::Setup {
            scenario: "answer-reliably",
            keys: vec![sound.clone()],
            rows: vec![],
            ..register.clone()
        };
        let mut answering = Sipp::start(scene, &answer)?;
        let call = sipp::Setup {
            scenario: "call-reliably",
            port: caller,
            keys: vec![domain, sound],
            rows: vec![format!("{};102", sipp::user(&alpha, "101"))],
            ..register
        };
        Sipp::play(scene, &call, SOON)?;
        answering.finish(SOON)?;
        assert_eq!(answering.noted(), ["held"]);
        server.wait_for_metric("tenantd_calls_ended_total{ending=\"caller_hung_up\"}", 1.0, SOON)
    });
}
