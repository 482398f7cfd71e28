//! Whether the instruments themselves can be believed: two phones and no server between them.

use std::time::Duration;

use kit::baresip::{Phone, Setup};
use kit::company::Company;
use kit::ear::Ear;
use kit::scene::play;
use kit::tone;

/// A second of the other's tone, and hardly anything else.
fn hears(phone: &Phone, hz: f64) -> bool {
    let recordings = phone.recordings().expect("recordings can be read");
    let last = recordings.last().expect("there is a recording");
    tone::seconds_of(last, hz) > 1.0 && tone::seconds_of_others(last, hz) < 0.3
}

#[test]
fn two_phones_hear_each_other_hold_and_hang_up_without_any_server() {
    play("instruments", |scene| {
        let company = Company::new("alpha.test");
        let nowhere = ([127, 0, 0, 1], scene.ports.one()?).into();
        let called = Setup { expires: 0, ..Setup::new(&company, "102", nowhere, 700) };
        let mut bob = Phone::start(scene, &called)?;
        let calling = Setup { expires: 0, ..Setup::new(&company, "101", bob.at, 440) };
        let mut ada = Phone::start(scene, &calling)?;
        assert_eq!(ada.disturbance()?, None);

        ada.dial("102")?;
        bob.wait_for("CALL_ESTABLISHED")?;
        ada.wait_for("CALL_ESTABLISHED")?;
        ada.wait_for_sound(75)?;
        bob.wait_for_sound(75)?;

        ada.hold()?;
        bob.wait_for_silence(Duration::from_millis(500))?;
        ada.resume()?;
        bob.wait_for_sound(25)?;
        ada.wait_for_sound(25)?;

        bob.hang_up()?;
        ada.wait_for("CALL_CLOSED")?;
        assert!(hears(&ada, 700.0) && !hears(&ada, 440.0));
        assert!(hears(&bob, 440.0) && !hears(&bob, 700.0));
        assert!(bob.disturbance()?.is_some());
        ada.quit()?;
        bob.quit()
    });
}

#[test]
fn two_ears_hear_each_other_until_one_is_closed() {
    play("ears", |scene| {
        let (first, second) = (scene.ports.one()?, scene.ports.one()?);
        let mut a = Ear::open(first, 440.0)?;
        let mut b = Ear::open(second, 700.0)?;
        a.play_to(([127, 0, 0, 1], second).into())?;
        a.wait_for_tone(700.0)?;
        b.wait_for_tone(440.0)?;
        drop(a);
        b.wait_for_silence(Duration::from_millis(300))
    });
}
