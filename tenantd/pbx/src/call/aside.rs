//! What one phone says to the other beside the sound: an INFO or a MESSAGE is carried across.
//!
//! RFC 6086, RFC 3428. What it means is between the phones.

use super::desk::Desk;
use super::within::{Reply, Within, refuse};
use super::{Call, Task};

/// Messages that may be on their way across at once.
const MOST_PASSING: usize = 8;

/// A message on its way to the other phone.
#[derive(Debug)]
pub(super) struct Passing {
    asked: Within,
    branch: u64,
}

impl Call {
    /// Carries it across.
    pub(super) fn pass(&mut self, desk: &mut Desk<'_>, index: usize, asked: Within, task: Task) {
        let Some(other) = self.other(index).filter(|_| self.passing.len() < MOST_PASSING) else {
            return desk.respond_plainly(asked.server, &asked.flow, &asked.request, 500);
        };
        let kind = asked.request.content_type().unwrap_or("application/octet-stream").to_owned();
        let body = asked.request.body().to_vec();
        let sent = Some((kind.as_str(), body.as_slice()));
        match self.legs[other].request(desk, task, self.number, sent) {
            Some(branch) => self.passing.push(Passing { asked, branch }),
            None => refuse(desk, &asked, 503),
        }
    }

    /// The other phone answered.
    pub(super) fn handle_passed(&mut self, desk: &mut Desk<'_>, reply: Reply<'_>) {
        let status = reply.response.status().unwrap_or(0);
        if status >= 200 {
            let status = if matches!(status, 401 | 407) { 500 } else { status };
            self.finish_passing(desk, reply.branch, status);
        }
    }

    /// Tells the one who asked.
    pub(super) fn finish_passing(&mut self, desk: &mut Desk<'_>, branch: u64, status: u16) {
        if let Some(at) = self.passing.iter().position(|passing| passing.branch == branch) {
            let Within { server, flow, request } = self.passing.swap_remove(at).asked;
            desk.respond_plainly(server, &flow, &request, status);
        }
    }

    /// The call ends while messages are on their way.
    pub(super) fn drop_passing(&mut self, desk: &mut Desk<'_>) {
        for Passing { asked, .. } in self.passing.drain(..) {
            desk.respond_plainly(asked.server, &asked.flow, &asked.request, 487);
        }
    }
}
