//! A phone answers a call that nobody here knows any more: the node that called it died while it rang.
//! It is hung up at once, instead of talking to nobody until it notices.
//!
//! RFC 3261 §13.2.2.4: whoever gets a 2xx that it has no use for acknowledges it, and says BYE.

use super::{Arrived, Switch};
use crate::call::{Owner, Task, parts};
use crate::flow::Flow;
use crate::moment::Moment;
use crate::output::Output;
use crate::sip::dialog::Dialog;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::name::Name;

/// No call has this number.
const NO_CALL: u64 = 0;

impl Switch {
    /// Answers a 2xx that is for no transaction of ours. The ACK is sent again as often as the answer
    /// comes; the BYE until it is answered, because a phone that has its ACK is silent.
    pub(super) fn hang_up_orphan(&mut self, now: Moment, arrived: &Arrived, response: &Message) {
        let Some(mut dialog) = self.orphan(arrived, response) else { return };
        let Ok(cseq) = response.cseq() else { return };
        let (_, via) = self.via_of_nobody(arrived);
        let ack = dialog.ack(cseq.number, &via).finish();
        self.office.outputs.push_back(Output::Send { flow: arrived.flow, bytes: ack });
        let (branch, via) = self.via_of_nobody(arrived);
        let bye = dialog.request(Method::Bye, &via).header(Name::Reason, "Q.850;cause=41");
        let owner =
            Owner { tenant: arrived.tenant, call: NO_CALL, leg: 0, task: Task::Bye, branch };
        let transactions = &mut self.office.transactions;
        // With no room for it, the phone's next request within that call is told 481.
        let _no_room =
            transactions.request(now, arrived.flow, Method::Bye, bye.finish(), branch, owner);
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

    /// A branch for which no call waits, and our Via with it.
    fn via_of_nobody(&mut self, arrived: &Arrived) -> (u64, String) {
        let route = self.tenants.get(&arrived.tenant).map_or(0, |place| place.directory.route);
        let key = self.office.chance.number();
        let branch = self.office.tokens.branch(route, key).to_string();
        (key, self.office.via(&arrived.flow, &branch))
    }
}
