//! A company's first page: phones online, calls right now, the latest ones.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse, Response};
use pbx::board::{Stage, Trouble};
use pbx::id::{CallId, TenantId};
use store::portal::{self as stored, About, PastCall};
use uuid::Uuid;

use super::rooms::{Room, Voice, rooms};
use super::{Frame, local};
use crate::Portal;
use crate::boards::{Seen, Sight};
use crate::catalogue::Language;
use crate::error::{Problem, page};
use crate::guard::Viewer;

/// Latest calls that are shown.
const RECENT: u16 = 20;

#[derive(Template)]
#[template(path = "first.html")]
struct FirstPage {
    t: Language,
    frame: Frame,
    tenant: TenantId,
    live: String,
    recent: Vec<Recent>,
}

#[derive(Template)]
#[template(path = "live.html")]
struct Live {
    t: Language,
    sight: Sight,
    phones: Vec<Phone>,
    calls: Vec<Call>,
    rooms: Vec<Room>,
}

struct Phone {
    extension: String,
    device: String,
    path: String,
    until: String,
    trouble: Option<&'static str>,
}

struct Call {
    caller: String,
    dialled: String,
    answered_by: String,
    stage: &'static str,
    since: String,
}

struct Recent {
    id: CallId,
    when: String,
    caller: String,
    dialled: String,
    how: &'static str,
    talked: String,
}

pub(crate) async fn show(
    State(portal): State<Portal>,
    viewer: Viewer,
    Path(tenant): Path<Uuid>,
) -> Result<Response, Problem> {
    let (t, tenant) = (viewer.language, TenantId(tenant));
    let about = about(&portal, &viewer, tenant).await?;
    let calls = stored::calls(&portal.database, tenant, &viewer.account.email, RECENT).await;
    let calls = calls.map_err(|failure| Problem::Away(t, failure))?;
    let recent = calls.into_iter().map(|call| recent(t, &about.time_zone, call)).collect();
    let live = fragment(&portal, t, tenant, &about.time_zone).await.0;
    let frame = Frame::new(&portal, &viewer, &about.name).of(tenant);
    Ok(page(&FirstPage { t, frame, tenant, live, recent }).into_response())
}

pub(crate) async fn live(
    State(portal): State<Portal>,
    viewer: Viewer,
    Path(tenant): Path<Uuid>,
) -> Result<Html<String>, Problem> {
    let tenant = TenantId(tenant);
    let about = about(&portal, &viewer, tenant).await?;
    Ok(fragment(&portal, viewer.language, tenant, &about.time_zone).await)
}

/// The company, if this viewer may see it.
pub(crate) async fn about(
    portal: &Portal,
    viewer: &Viewer,
    tenant: TenantId,
) -> Result<About, Problem> {
    viewer.enter(tenant)?;
    let about = stored::about(&portal.database, tenant, &viewer.account.email).await;
    let about = about.map_err(|failure| Problem::Away(viewer.language, failure))?;
    about.ok_or(Problem::NotFound(viewer.language))
}

async fn fragment(portal: &Portal, t: Language, tenant: TenantId, zone: &str) -> Html<String> {
    let Seen { board, sight } = portal.boards.look(tenant).await;
    let phone = |phone: &pbx::board::Phone| Phone {
        extension: phone.extension.to_string(),
        device: phone.user_agent.to_string(),
        path: phone.path.to_string(),
        until: local(phone.expires_at, zone, "%H:%M:%S"),
        trouble: phone.trouble.map(|trouble| match trouble {
            Trouble::NotAnswering => t.get("phone.not_answering"),
            Trouble::SipAlg => t.get("phone.sip_alg"),
        }),
    };
    let call = |call: &pbx::board::LiveCall| Call {
        caller: call.caller.clone(),
        dialled: call.dialled.clone(),
        answered_by: call.answered_by.clone(),
        stage: t.get(match call.stage {
            Stage::Ringing => "stage.ringing",
            Stage::Talking => "stage.talking",
            Stage::Held => "stage.held",
            Stage::Conferring => "stage.conferring",
        }),
        since: local(call.began_at, zone, "%H:%M:%S"),
    };
    let mut phones: Vec<Phone> = board.phones.values().map(|shown| phone(shown)).collect();
    phones.sort_by(|a, b| (&a.extension, &a.path).cmp(&(&b.extension, &b.path)));
    let calls = board.calls.values().map(|live| call(live)).collect();
    page(&Live { t, sight, phones, calls, rooms: rooms(t, zone, &board) })
}

fn recent(t: Language, zone: &str, call: PastCall) -> Recent {
    let talked = call.answered_at.map(|at| (call.ended_at - at).as_secs());
    Recent {
        id: call.id,
        when: local(call.began_at, zone, "%Y-%m-%d %H:%M:%S"),
        caller: call.caller,
        dialled: call.dialled,
        how: how(t, &call.ending),
        talked: talked.map(|s| format!("{}:{:02}", s / 60, s % 60)).unwrap_or_default(),
    }
}

/// A stored ending, as `CallerHungUp`, in words.
pub(crate) fn how(t: Language, ending: &str) -> &'static str {
    let mut key = String::from("ending.");
    for (at, letter) in ending.char_indices() {
        if letter.is_ascii_uppercase() && at > 0 {
            key.push('_');
        }
        key.push(letter.to_ascii_lowercase());
    }
    t.get(&key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pbx::record::Ending;

    #[test]
    fn every_stored_ending_has_words() {
        assert_eq!(
            how(Language::English, &format!("{:?}", Ending::NoCommonMedia)),
            "the phones have no kind of sound in common"
        );
        assert_eq!(how(Language::German, &format!("{:?}", Ending::Busy)), "besetzt");
    }

    #[test]
    fn a_name_cannot_bring_a_script() {
        let phones = vec![Phone {
            extension: "101".into(),
            device: "<script>alert(1)</script>".into(),
            path: "udp".into(),
            until: "now".into(),
            trouble: None,
        }];
        let html = page(&Live {
            t: Language::English,
            sight: Sight::Clear,
            phones,
            calls: vec![],
            rooms: vec![],
        })
        .0;
        assert!(!html.contains("<script>") && html.contains("alert(1)"), "{html}");
    }

    #[test]
    fn a_home_that_cannot_be_reached_is_said_so_in_both_languages() {
        for (t, words) in
            [(Language::English, "cannot be seen"), (Language::German, "nicht zu sehen")]
        {
            let shown =
                |sight| page(&Live { t, sight, phones: vec![], calls: vec![], rooms: vec![] }).0;
            assert!(shown(Sight::Lost).contains(words));
            assert!(!shown(Sight::Lost).contains(t.get("first.no_phones")), "that is not known");
            assert!(!shown(Sight::Clear).contains(words));
        }
    }

    #[test]
    fn a_phone_in_trouble_says_so_in_both_languages() {
        for (t, words) in [(Language::English, "SIP ALG"), (Language::German, "Ihr Router")] {
            let shown = |trouble| {
                let phone = Phone {
                    extension: "101".into(),
                    device: "Desk phone".into(),
                    path: "udp".into(),
                    until: "now".into(),
                    trouble,
                };
                page(&Live {
                    t,
                    sight: Sight::Clear,
                    phones: vec![phone],
                    calls: vec![],
                    rooms: vec![],
                })
                .0
            };
            assert!(shown(Some(t.get("phone.sip_alg"))).contains(words));
            assert!(!shown(None).contains("trouble"));
        }
    }
}
