//! A phone answers a call that nobody here knows any more: the node that called it died while it rang.
//! It is hung up at once, instead of talking to nobody until it notices.
//!
//! RFC 3261 §13.2.2.4: whoever gets a 2xx that it has no use for acknowledges it, and says BYE.

use super::{Arrived, Switch};
use crate::call::parts;
use crate::flow::Flow;
use crate::output::Output;
use crate::sip::dialog::Dialog;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::name::Name;

impl Switch {
    /// Answers a 2xx that is for no transaction of ours. Nothing is remembered: as long as the phone
    /// repeats its answer, both are sent again.
    pub(super) fn hang_up_orphan(&mut self, arrived: &Arrived, response: &Message) {
        let Some(mut dialog) = self.orphan(arrived, response) else { return };
        let Ok(cseq) = response.cseq() else { return };
        let ack = dialog.ack(cseq.number, &self.plain_via(arrived)).finish();
        let bye = dialog.request(Method::Bye, &self.plain_via(arrived));
        let bye = bye.header(Name::Reason, "Q.850;cause=41").finish();
        for bytes in [ack, bye] {
            self.office.outputs.push_back(Output::Send { flow: arrived.flow, bytes });
        }
    }

    /// The dialog that an answer begins, if its INVITE was this tenant's and its call is unknown.
    fn orphan(&self, arrived: &Arrived, response: &Message) -> Option<Dialog> {
        let status = response.status()?;
        if !(200..=299).contains(&status) || response.method() != Method::Invite {
            return None;
        }
        // The other tenant's call ends by its own messages.
        let Flow::Net(_) = arrived.flow else { return None };
        let place = self.tenants.get(&arrived.tenant)?;
        let tag = response.from().ok()?.tag()?.to_owned();
        let opened = self.office.tokens.read(&tag)?;
        let (call, _) = parts(opened.key);
        if opened.route != place.directory.route || place.calls.contains_key(&call) {
            return None;
        }
        let call_id = response.call_id().ok()?.to_owned();
        let local = response.first(Name::From)?.to_owned();
        let mut dialog = Dialog::asking(call_id, local, tag, String::new());
        dialog.local_cseq = response.cseq().ok()?.number;
        dialog.handle_answer(response).ok()?;
        (!dialog.target.is_empty()).then_some(dialog)
    }

    /// Our Via, with a branch that nobody waits for.
    fn plain_via(&mut self, arrived: &Arrived) -> String {
        let route = self.tenants.get(&arrived.tenant).map_or(0, |place| place.directory.route);
        let branch = self.office.tokens.branch(route, self.office.chance.number()).to_string();
        self.office.via(&arrived.flow, &branch)
    }
}
