//! Phones on connections, which break.

use super::*;
use crate::flow::{FlowId, Link, Transport};

fn connected(number: u32, ask: Ask<'_>) -> Ask<'_> {
    let link = Link::Stream { transport: Transport::Tls, boot: 7, number };
    Ask { path: Path { link, ..path(HOME) }, ..ask }
}

fn stream(number: u32) -> FlowId {
    FlowId { node: NodeId(1), boot: 7, number }
}

#[test]
fn a_phone_whose_connection_broke_is_not_called_until_it_is_back() {
    let mut world = World::new();
    let first = connected(1, phone("a", 1, "sip:101@h"));
    let _ = world.register(101, &first).unwrap();
    assert!(world.registrar.lose(stream(2)).is_empty());
    assert_eq!(world.reachable(101), ["sip:101@h"]);
    assert_eq!(world.registrar.lose(stream(1)).len(), 1);
    assert!(world.reachable(101).is_empty());
    assert_eq!(world.registrar.doubtful().count(), 0);
    let back = world.register(101, &connected(2, phone("a", 2, "sip:101@h"))).unwrap();
    assert_eq!(kinds(&back.changes), ["moved"]);
    assert_eq!(world.reachable(101), ["sip:101@h"]);
}

#[test]
fn after_a_restart_a_connection_is_dormant_unless_it_is_still_open_elsewhere() {
    let mut world = World::new();
    let outcome = world.register(101, &connected(1, phone("a", 1, "sip:101@h"))).unwrap();
    let row = added(&outcome).clone();
    for (is_open, reachable) in [(false, 0), (true, 1)] {
        world.registrar = Registrar::default();
        let gone = world.registrar.restore(world.now, &directory(), vec![row.clone()], |_| is_open);
        assert!(gone.is_empty());
        assert_eq!(world.reachable(101).len(), reachable);
    }
    world.wait(3_601);
    assert_eq!(kinds(&world.registrar.handle_deadline(world.now)), ["expired"]);
}
