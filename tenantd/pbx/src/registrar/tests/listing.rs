//! What the 200 tells of what is registered.

use super::*;

#[test]
fn the_answer_tells_instance_and_reg_id_back() {
    let mut world = World::new();
    let outbound = with_instance("<urn:uuid:1>", Some(1), phone("a", 1, "sip:101@h;ob"));
    let _ = world.register(101, &outbound).unwrap();
    assert_eq!(
        world.listed(101),
        [r#"<sip:101@h;ob>;expires=3600;+sip.instance="<urn:uuid:1>";reg-id=1"#]
    );
}

#[test]
fn a_started_second_counts_as_one() {
    let mut world = World::new();
    let _ = world.register(101, &phone("a", 1, "sip:101@h")).unwrap();
    world.now += std::time::Duration::from_millis(3_599_999);
    assert_eq!(world.listed(101), ["<sip:101@h>;expires=1"]);
}
