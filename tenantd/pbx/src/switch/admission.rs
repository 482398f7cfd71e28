//! Tenants come, change and go; their calls and registrations come with them.

use std::collections::BTreeMap;

use super::registering::phone;
use super::{Due, Line, Switch, Tenant};
use crate::board::What;
use crate::call::shown::Shown;
use crate::call::{Call, Owner, Task};
use crate::flow::{Flow, FlowId};
use crate::id::{CallId, NodeId, TenantId};
use crate::moment::Moment;
use crate::output::Output;
use crate::record::{Binding, Ending};
use crate::registrar::{Registered, Registrar};
use crate::sip::Draft;
use crate::sip::deadlines::Alarm;
use crate::sip::method::Method;
use crate::sip::name::Name;
use crate::sip::nat::Reach;
use crate::story::Event;
use crate::tenant::directory::Directory;
use crate::tenant::guard::{self, Guard};
use crate::tenant::limits::LiveCalls;
use crate::tenant::rooms::Rooms;

/// What a tenant's calls were when it came, as facts.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// They go on.
    pub(super) live: Vec<Vec<u8>>,
    /// The node that carried their sound is lost, so they end.
    pub(super) lost: Vec<Vec<u8>>,
}

impl Switch {
    /// A tenant came to this switch.
    pub(super) fn admit(
        &mut self,
        now: Moment,
        directory: Box<Directory>,
        bindings: Vec<Binding>,
        calls: Inherited,
    ) {
        let id = directory.tenant;
        if self.tenants.contains_key(&id) {
            return self.configure(now, directory);
        }
        self.nonces.admit(now, directory.route);
        let mut registrar = Registrar::default();
        let open = |id: FlowId| self.office.nodes.get(&id.node).is_some_and(|n| n.boot == id.boot);
        for binding in &bindings {
            if let Some(stream) = binding.path.stream().filter(|stream| open(*stream)) {
                self.streams.entry(stream).or_default().insert(id);
            }
        }
        let changes = registrar.restore(now, &directory, bindings, open);
        let tenant = Tenant {
            directory,
            registrar,
            live: LiveCalls::default(),
            rooms: Rooms::default(),
            shown: Shown::default(),
            guard: Guard::new(&mut self.office.chance, guard::LIMIT),
            calls: BTreeMap::new(),
            alarm: Alarm::default(),
        };
        self.tenants.insert(id, tenant);
        self.take_over(now, id, changes);
        self.show_phones(now, id);
        self.keep_all_open(now, id);
        self.probe_doubtful(now, id);
        for facts in &calls.live {
            self.revive(now, id, facts);
        }
        for facts in &calls.lost {
            self.bury(now, id, facts);
        }
    }

    /// A tenant's configuration was published: it is taken over whole.
    pub(super) fn configure(&mut self, now: Moment, directory: Box<Directory>) {
        let id = directory.tenant;
        let Some(tenant) = self.tenants.get_mut(&id) else {
            return self.admit(now, directory, Vec::new(), Inherited::default());
        };
        let changes = tenant.registrar.configure(now, &directory);
        let old = std::mem::replace(&mut tenant.directory, directory);
        self.office.outputs.push_back(Output::Retire(old));
        self.take_over(now, id, changes);
    }

    /// A tenant is gone from here: its calls end, and nothing of it is left.
    pub(super) fn remove(&mut self, now: Moment, id: TenantId) {
        self.end_calls(now, id, Ending::ServerStopped);
        self.handle_transactions(now);
        let Some(mut tenant) = self.tenants.remove(&id) else { return };
        let (mut desk, _) = tenant.desk(now, &self.elsewhere, &mut self.office);
        desk.show(What::Cleared);
        self.nonces.forget(tenant.directory.route);
        self.office.outputs.push_back(Output::Retire(tenant.directory));
        self.streams.retain(|_, tenants| {
            tenants.remove(&id);
            !tenants.is_empty()
        });
    }

    /// A connection is gone: nobody is called over it any more, and nobody waits for its answers.
    pub(super) fn lose(&mut self, now: Moment, stream: FlowId) {
        for id in self.streams.remove(&stream).into_iter().flatten() {
            let Some(tenant) = self.tenants.get_mut(&id) else { continue };
            let lost = tenant.registrar.lose(stream);
            let (mut desk, calls) = tenant.desk(now, &self.elsewhere, &mut self.office);
            for binding in lost {
                let number = desk.tenant.users.get(&binding.user).map(|user| user.number.clone());
                let event = Event::Disconnected {
                    number: number.unwrap_or_default(),
                    from: binding.path.peer.to_string(),
                };
                desk.note(None, event);
                desk.show(What::PhoneGone(binding.id));
            }
            let numbers: Vec<u64> = calls.keys().copied().collect();
            for line in calls.values_mut() {
                line.call.handle_flow_gone(&mut desk, stream);
            }
            for number in numbers {
                self.settle(id, number);
            }
        }
        // Calls know by now why nobody answers.
        self.office.transactions.lose(stream);
        self.handle_transactions(now);
    }

    /// Connections of a node's earlier processes went down with them.
    pub(super) fn lose_older(&mut self, now: Moment, node: NodeId, boot: u32) {
        let is_older = |stream: &FlowId| stream.node == node && stream.boot != boot;
        let older: Vec<FlowId> = self.streams.keys().copied().filter(is_older).collect();
        for stream in older {
            self.lose(now, stream);
        }
    }

    /// A tenant's public numbers, which every other tenant may dial.
    pub(super) fn learn_numbers(&mut self, tenant: TenantId, numbers: Vec<String>) {
        for old in self.numbers.remove(&tenant).into_iter().flatten() {
            if self.elsewhere.get(&old) == Some(&tenant) {
                self.elsewhere.remove(&old);
            }
        }
        for number in &numbers {
            self.elsewhere.insert(number.clone(), tenant);
        }
        if !numbers.is_empty() {
            self.numbers.insert(tenant, numbers);
        }
    }

    /// Ends all calls: the drain is over.
    pub(super) fn hang_up_all(&mut self, now: Moment) {
        let tenants: Vec<TenantId> = self.tenants.keys().copied().collect();
        for tenant in tenants {
            self.end_calls(now, tenant, Ending::ServerStopped);
        }
    }

    fn end_calls(&mut self, now: Moment, id: TenantId, ending: Ending) {
        let Some(tenant) = self.tenants.get_mut(&id) else { return };
        let (mut desk, calls) = tenant.desk(now, &self.elsewhere, &mut self.office);
        let numbers: Vec<u64> = calls.keys().copied().collect();
        for line in calls.values_mut() {
            line.call.end(&mut desk, ending);
        }
        for number in numbers {
            self.settle(id, number);
        }
    }

    fn revive(&mut self, now: Moment, id: TenantId, facts: &[u8]) {
        let Some(tenant) = self.tenants.get_mut(&id) else { return };
        let (mut desk, calls) = tenant.desk(now, &self.elsewhere, &mut self.office);
        if let Some(call) = Call::revive(&mut desk, facts) {
            let number = call.number;
            self.sounds.insert(call.id, (id, number));
            calls.insert(number, Line { call: Box::new(call), alarm: Alarm::default() });
            self.settle(id, number);
        }
    }

    /// A call whose sound is lost: phones that can be told hear that it is over, and it is noted.
    fn bury(&mut self, now: Moment, id: TenantId, facts: &[u8]) {
        let Some(tenant) = self.tenants.get_mut(&id) else { return };
        let (mut desk, calls) = tenant.desk(now, &self.elsewhere, &mut self.office);
        if let Some(call) = Call::bury(&mut desk, facts) {
            let number = call.number;
            calls.insert(number, Line { call: Box::new(call), alarm: Alarm::default() });
            self.settle(id, number);
        }
    }

    fn show_phones(&mut self, now: Moment, id: TenantId) {
        let Some(tenant) = self.tenants.get_mut(&id) else { return };
        let users = &tenant.directory.users;
        let phones: Vec<What> = tenant
            .registrar
            .iter()
            .filter(|registered| registered.is_reachable(now))
            .map(|registered| {
                let binding = &registered.binding;
                let number = users.get(&binding.user).map(|user| user.number.clone());
                What::Phone(binding.id, phone(registered, number.unwrap_or_default()))
            })
            .collect();
        let (mut desk, _) = tenant.desk(now, &self.elsewhere, &mut self.office);
        phones.into_iter().for_each(|phone| desk.show(phone));
    }

    /// The ways to phones behind routers are kept open from the start.
    fn keep_all_open(&mut self, now: Moment, id: TenantId) {
        let Some(tenant) = self.tenants.get(&id) else { return };
        let behind = |registered: &&Registered| registered.reach == Reach::BehindNat;
        let phones: Vec<_> = tenant.registrar.iter().filter(behind).collect();
        let phones = phones.iter().map(|phone| (phone.binding.user, phone.binding.id));
        for phone in phones.collect::<Vec<_>>() {
            self.keep_open(now, id, phone, None);
        }
    }

    /// Phones that may or may not still be there after a crash are asked before they are called.
    fn probe_doubtful(&mut self, now: Moment, id: TenantId) {
        let Some(tenant) = self.tenants.get_mut(&id) else { return };
        let doubtful: Vec<Binding> = tenant.registrar.doubtful().cloned().collect();
        let (mut desk, _) = tenant.desk(now, &self.elsewhere, &mut self.office);
        for binding in doubtful {
            let flow = Flow::Net(binding.path);
            let (branch, text) = desk.branch();
            let call_id = desk.office.chance.uuid(now);
            let tag = desk.office.tokens.tag(desk.tenant.route, 0);
            let here = format!("<sip:{}>", desk.tenant.domain);
            let draft = Draft::request(Method::Options, &binding.contact)
                .header(Name::Via, desk.office.via(&flow, &text))
                .header(Name::MaxForwards, 70)
                .header(Name::From, format_args!("{here};tag={tag}"))
                .header(Name::To, format_args!("<{}>", binding.contact))
                .header(Name::CallId, call_id)
                .header(Name::CSeq, "1 OPTIONS")
                .header(Name::Contact, desk.office.contact(&flow, ""));
            let call = desk.office.chance.number();
            self.probes.insert(call, (id, binding.user, binding.id));
            let owner = Owner { tenant: id, call, leg: 0, task: Task::Probe, branch };
            // With no room for a transaction the phone stays doubtful, and goes at its horizon.
            let _no_room = desk.request(flow, Method::Options, draft.finish(), owner);
        }
    }

    /// Forgets a call that is over, or sees to it that it is woken in time.
    pub(super) fn settle(&mut self, id: TenantId, number: u64) {
        let Some(tenant) = self.tenants.get_mut(&id) else { return };
        let Some(line) = tenant.calls.get_mut(&number) else { return };
        let seat = line.call.seat();
        if line.call.is_over() {
            self.sounds.remove(&line.call.id);
            self.due.unset(&mut line.alarm, &Due::Call(id, number));
            tenant.calls.remove(&number);
            return;
        }
        let deadline = line.call.deadline();
        self.due.set(&mut line.alarm, deadline, Due::Call(id, number));
        if let Some(seat) = seat.filter(|seat| !self.rooms.contains_key(&seat.call)) {
            self.open_room(id, seat.call);
        }
    }

    /// What media tells of a conference is for its members' calls. Those that have ended are forgotten
    /// when another begins.
    fn open_room(&mut self, id: TenantId, session: CallId) {
        let Self { rooms, tenants, .. } = self;
        let is_open = |session: CallId, id: &TenantId| {
            tenants.get(id).is_some_and(|tenant| tenant.rooms.is_open(session))
        };
        rooms.retain(|session, id| is_open(*session, id));
        rooms.insert(session, id);
    }
}
