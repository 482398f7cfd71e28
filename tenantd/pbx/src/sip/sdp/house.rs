//! What we say ourselves, where no other phone speaks: in a conference, the other side is this house.
//!
//! RFC 3264 §5 and §6. All that we can unpack and pack is taken, in the order of the phone.

use super::format::{self, Carries, Format};
use super::offer::OURS;
use super::shield::Unfit;
use super::{Description, Flaw};

/// What we could say to anybody; the codecs that we know are added to every offer, and these lead.
const ANYTHING: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
    m=audio 9 RTP/AVP 96 9 8 0 101\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\n\
    a=rtpmap:9 G722/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n";

impl Description {
    /// What the house says to a phone that made no offer.
    pub fn of_house() -> Result<Self, Flaw> {
        Self::read(ANYTHING.as_bytes())
    }

    /// What the house says to this offer: what of it we can take.
    pub fn taken_by_house(&self) -> Result<Self, Unfit> {
        let formats = self.formats().filter(|_| self.profile().is_some() && self.is_live());
        let formats = formats.ok_or(Unfit::NoCodec)?;
        let known = |format: &Format| OURS.iter().find(|(_, map, _)| is(map, format));
        let kept: Vec<&Format> = formats
            .iter()
            .filter(|format| match format.carries() {
                Carries::Sound => known(format).is_some(),
                Carries::Events | Carries::Noise => true,
                Carries::Packets => false,
            })
            .collect();
        if kept.iter().all(|format| format.carries() != Carries::Sound) {
            return Err(Unfit::NoCodec);
        }
        let mut house = self.mirrored();
        let media = &mut house.session.medias[house.audio];
        let numbers: Vec<(u8, u8)> = kept.iter().map(|f| (f.payload, f.payload)).collect();
        format::keep(media, &numbers);
        // What the phone says of a codec is its own wish, and ours is another.
        let sounds = kept.iter().filter_map(|format| Some((format.payload, known(format)?.2)));
        for (payload, ours) in sounds {
            format::describe(media, payload, ours);
        }
        Ok(house)
    }
}

fn is(map: &str, format: &Format) -> bool {
    map.eq_ignore_ascii_case(&format.map)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 7 7 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
        m=audio 4000 RTP/AVP 98 104 96 8 101 13\r\na=rtpmap:98 speex/16000\r\n\
        a=rtpmap:104 iLBC/8000\r\na=fmtp:104 mode=30\r\na=rtpmap:96 opus/48000/2\r\n\
        a=fmtp:96 stereo=1;sprop-stereo=1\r\na=rtpmap:101 telephone-event/8000\r\n\
        a=fmtp:101 0-16\r\na=sendonly\r\n";

    #[test]
    fn what_can_be_mixed_is_taken_in_the_phones_order() {
        let offer = Description::read(OFFER.as_bytes()).unwrap();
        let text = offer.taken_by_house().unwrap().text();
        assert!(text.contains("m=audio 4000 RTP/AVP 96 8 101 13\r\n"), "{text}");
        assert!(text.contains("a=fmtp:96 useinbandfec=1\r\n"), "{text}");
        assert!(!text.contains("stereo") && !text.contains("speex") && !text.contains("iLBC"));
        assert!(text.contains("a=fmtp:101 0-16\r\n") && text.contains("a=recvonly\r\n"), "{text}");
    }

    #[test]
    fn what_nobody_here_can_unpack_is_refused() {
        let text = OFFER.replace("98 104 96 8 101 13", "98 104 101");
        let offer = Description::read(text.as_bytes()).unwrap();
        assert_eq!(offer.taken_by_house().unwrap_err(), Unfit::NoCodec);
        let refused = OFFER.replace("m=audio 4000", "m=audio 0");
        let offer = Description::read(refused.as_bytes()).unwrap();
        assert!(offer.taken_by_house().is_err());
        assert!(Description::of_house().is_ok());
    }
}
