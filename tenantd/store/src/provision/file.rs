//! Reads a provisioning file, and says in which line it is wrong.

use toml::Spanned;

use super::lines::Lines;
use super::wanted::{
    About, Admin, Announcement, Conference, Encryption, Extension, File, Group, Limits, Named,
    Number, Played, Recording, Sound, Tenant,
};
use super::{Problem, raw, values};

/// Reads and checks a file; `name` is what problems call it.
///
/// # Errors
/// The first thing that is wrong, with its line.
pub fn parse(text: &str, name: &str) -> Result<File, Problem> {
    let reader = Reader { text, name, lines: Lines::of(text) };
    let root: raw::Root = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let reason = error.message().lines().next().unwrap_or("cannot be read");
        match reader.key(at) {
            Some(key) if !reason.contains(key) => reader.problem(at, format!("{key}: {reason}")),
            Some(_) | None => reader.problem(at, reason.to_owned()),
        }
    })?;
    if let Some(trunk) = &root.trunk {
        return Err(reader.problem(trunk.span().start, NO_TRUNKS.to_owned()));
    }
    let tenants: Result<Vec<Tenant>, Problem> =
        root.tenant.iter().map(|tenant| reader.tenant(tenant)).collect();
    let file = File { name: name.to_owned(), tenants: tenants? };
    file.check_across()?;
    Ok(file)
}

const NO_TRUNKS: &str = "trunks are not available yet";

struct Reader<'a> {
    text: &'a str,
    name: &'a str,
    lines: Lines,
}

impl Reader<'_> {
    fn line(&self, at: usize) -> usize {
        self.lines.line(at)
    }

    /// The key of the line that is wrong, if it has one.
    fn key(&self, at: usize) -> Option<&str> {
        let line = self.text.lines().nth(self.line(at) - 1)?;
        let (key, _) = line.split_once('=')?;
        Some(key.trim()).filter(|key| !key.is_empty() && !key.starts_with('#'))
    }

    fn problem(&self, at: usize, reason: String) -> Problem {
        Problem { file: self.name.to_owned(), line: self.line(at), reason }
    }

    /// Checks one value and says where it stands if it is wrong.
    fn value<T, U>(
        &self,
        key: &str,
        value: &Spanned<T>,
        check: impl FnOnce(&T) -> Result<U, String>,
    ) -> Result<U, Problem> {
        check(value.get_ref())
            .map_err(|reason| self.problem(value.span().start, format!("{key}: {reason}")))
    }

    fn text(
        &self,
        key: &str,
        value: &Option<Spanned<String>>,
        check: impl FnOnce(&str) -> Result<String, String>,
    ) -> Result<Option<String>, Problem> {
        value.as_ref().map(|v| self.value(key, v, |text| check(text))).transpose()
    }

    fn named(&self, key: &str, value: &Option<Spanned<String>>) -> Result<Option<Named>, Problem> {
        let named = |v: &Spanned<String>| {
            let name = self.value(key, v, |text| values::name(text))?;
            Ok(Named { name, line: self.line(v.span().start) })
        };
        value.as_ref().map(named).transpose()
    }

    fn list(
        &self,
        key: &str,
        value: &Option<Spanned<Vec<String>>>,
        check: impl Fn(&str) -> Result<String, String>,
    ) -> Result<Option<Vec<String>>, Problem> {
        let all = |list: &Vec<String>| list.iter().map(|text| check(text)).collect();
        value.as_ref().map(|v| self.value(key, v, all)).transpose()
    }

    fn limits(
        &self,
        max_calls: &Option<Spanned<i64>>,
        max_call_for: &Option<Spanned<String>>,
    ) -> Result<Limits, Problem> {
        let count = |value: &i64| values::count(*value, 0, 1_000_000);
        let max_calls =
            max_calls.as_ref().map(|v| self.value("max_calls", v, count)).transpose()?;
        let longest = max_call_for.as_ref();
        let seconds = |text: &String| values::seconds(text);
        let max_call_s = longest.map(|v| self.value("max_call_for", v, seconds)).transpose()?;
        Ok(Limits { max_calls, max_call_s, max_sounds: None, sound_bytes: None })
    }

    fn tenant(&self, tenant: &Spanned<raw::Tenant>) -> Result<Tenant, Problem> {
        let (at, raw) = (tenant.span().start, tenant.get_ref());
        if let Some(trunk) = &raw.trunk {
            return Err(self.problem(trunk.span().start, NO_TRUNKS.to_owned()));
        }
        let digest = |names: &Vec<String>| values::digest(names);
        Ok(Tenant {
            line: self.line(at),
            domain: self.value("domain", &raw.domain, |text| values::domain(text))?,
            aliases: self.list("aliases", &raw.aliases, values::domain)?,
            about: About {
                name: self.text("name", &raw.name, values::name)?,
                label: self.text("label", &raw.label, values::label)?,
                country: self.text("country", &raw.country, values::country)?,
                time_zone: self.text("time_zone", &raw.time_zone, values::time_zone)?,
            },
            limits: self.tenant_limits(raw)?,
            trusted: self.list("trusted", &raw.trusted, values::network)?,
            digest: raw.digest.as_ref().map(|v| self.value("digest", v, digest)).transpose()?,
            encryption: Encryption {
                srtp: self.text("srtp", &raw.srtp, values::srtp)?,
                sdes_over_plain: raw.sdes_over_plain,
            },
            recording: self.recording(raw)?,
            admins: raw.admin.iter().map(|admin| self.admin(admin)).collect::<Result<_, _>>()?,
            extensions: raw
                .extension
                .iter()
                .map(|extension| self.extension(extension))
                .collect::<Result<_, _>>()?,
            groups: raw.ring_group.iter().map(|g| self.group(g)).collect::<Result<_, _>>()?,
            conferences: raw
                .conference
                .iter()
                .map(|conference| self.conference(conference))
                .collect::<Result<_, _>>()?,
            numbers: raw.number.iter().map(|n| self.number(n)).collect::<Result<_, _>>()?,
            sounds: raw.sound.iter().map(|s| self.sound(s)).collect::<Result<_, _>>()?,
            played: Played {
                music: self.named("music", &raw.music)?,
                announcements: raw
                    .announcement
                    .iter()
                    .map(|announcement| self.announcement(announcement))
                    .collect::<Result<_, _>>()?,
            },
        })
    }

    fn tenant_limits(&self, raw: &raw::Tenant) -> Result<Limits, Problem> {
        let count = |value: &i64| values::count(*value, 0, 100_000);
        let max_sounds =
            raw.max_sounds.as_ref().map(|v| self.value("max_sounds", v, count)).transpose()?;
        let size = |text: &String| values::quota(text);
        let quota = raw.sound_quota.as_ref();
        let sound_bytes = quota.map(|v| self.value("sound_quota", v, size)).transpose()?;
        Ok(Limits { max_sounds, sound_bytes, ..self.limits(&raw.max_calls, &raw.max_call_for)? })
    }

    fn recording(&self, raw: &raw::Tenant) -> Result<Recording, Problem> {
        let count = |value: &i64| values::count(*value, 0, 36_500);
        let days = raw.record_days.as_ref();
        Ok(Recording {
            rule: self.text("record", &raw.record, values::record)?,
            code: self.text("record_code", &raw.record_code, values::code)?,
            days: days.map(|v| self.value("record_days", v, count)).transpose()?,
            announcement: self.named("announce_recording", &raw.announce_recording)?,
        })
    }

    fn sound(&self, sound: &Spanned<raw::Sound>) -> Result<Sound, Problem> {
        let (at, raw) = (sound.span().start, sound.get_ref());
        let file = |text: &String| match text.is_empty() || text.contains('\0') {
            true => Err("is no file's name".to_owned()),
            false => Ok(text.clone()),
        };
        Ok(Sound {
            line: self.line(at),
            name: self.value("name", &raw.name, |text| values::sound_name(text))?,
            file: self.value("file", &raw.file, file)?,
        })
    }

    fn announcement(&self, said: &Spanned<raw::Announcement>) -> Result<Announcement, Problem> {
        let (at, raw) = (said.span().start, said.get_ref());
        Ok(Announcement {
            line: self.line(at),
            number: self.value("number", &raw.number, |text| values::extension_number(text))?,
            sound: self.value("sound", &raw.sound, |text| values::sound_name(text))?,
        })
    }

    fn admin(&self, admin: &Spanned<raw::Admin>) -> Result<Admin, Problem> {
        let raw = admin.get_ref();
        let email = self.value("email", &raw.email, |text| match text.is_empty() {
            true => Err("is empty".to_owned()),
            false => values::email(text),
        })?;
        let names = [email.as_str()];
        let check = |text: &String| values::password(text, &names);
        let password = self.value("password", &raw.password, check)?;
        Ok(Admin { email, password })
    }

    fn extension(&self, extension: &Spanned<raw::Extension>) -> Result<Extension, Problem> {
        let (at, raw) = (extension.span().start, extension.get_ref());
        let number = self.value("number", &raw.number, |text| values::extension_number(text))?;
        let username = self.text("username", &raw.username, values::username)?;
        let auth = self.text("auth_username", &raw.auth_username, values::auth_username)?;
        let mut names = vec![number.as_str()];
        names.extend(username.as_deref().filter(|name| !name.is_empty()));
        names.extend(auth.as_deref().filter(|name| !name.is_empty()));
        let password = self.text("password", &raw.password, |t| values::password(t, &names))?;
        let contacts = |value: &i64| values::count(*value, 1, 100);
        let digest = |names: &Vec<String>| values::digest(names);
        let max_contacts = raw.max_contacts.as_ref();
        Ok(Extension {
            line: self.line(at),
            password,
            name: self.text("name", &raw.name, values::name)?,
            email: self.text("email", &raw.email, values::email)?,
            voicemail: raw.voicemail,
            digest: raw.digest.as_ref().map(|v| self.value("digest", v, digest)).transpose()?,
            srtp: self.text("srtp", &raw.srtp, values::own_srtp)?,
            record: self.text("record", &raw.record, values::own_record)?,
            announce_recording: self.named("announce_recording", &raw.announce_recording)?,
            music: self.named("music", &raw.music)?,
            max_contacts: max_contacts
                .map(|v| self.value("max_contacts", v, contacts))
                .transpose()?,
            limits: self.limits(&raw.max_calls, &raw.max_call_for)?,
            number,
            username,
            auth_username: auth,
        })
    }

    fn group(&self, group: &Spanned<raw::Group>) -> Result<Group, Problem> {
        let (at, raw) = (group.span().start, group.get_ref());
        Ok(Group {
            line: self.line(at),
            number: self.value("number", &raw.number, |text| values::extension_number(text))?,
            name: self.text("name", &raw.name, values::name)?,
            members: self.list("members", &raw.members, values::extension_number)?,
        })
    }

    fn conference(&self, conference: &Spanned<raw::Conference>) -> Result<Conference, Problem> {
        let (at, raw) = (conference.span().start, conference.get_ref());
        let number = self.value("number", &raw.number, |text| values::extension_number(text))?;
        let pin = self.text("pin", &raw.pin, |text| values::pin(text, &number))?;
        Ok(Conference { line: self.line(at), number, pin })
    }

    fn number(&self, number: &Spanned<raw::Number>) -> Result<Number, Problem> {
        let (at, raw) = (number.span().start, number.get_ref());
        if let Some(trunk) = &raw.trunk {
            return Err(self.problem(trunk.span().start, NO_TRUNKS.to_owned()));
        }
        Ok(Number {
            line: self.line(at),
            number: self.value("number", &raw.number, |text| values::public_number(text))?,
            to: raw.to.get_ref().clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_in_one_line_what_is_wrong_and_where() {
        let head = "[[tenant]]\ndomain = \"acme.test\"\nname = \"Acme\"\n";
        let cases = [
            ("colour = \"red\"\n", "4", "colour"),
            ("time_zone = \"Europe/Wien\"\n", "4", "time_zone"),
            ("[[tenant.extension]]\nnumber = \"101\"\npassword = \"101\"\n", "6", "password"),
            ("[[tenant.extension]]\nnumber = \"10a\"\n", "5", "number"),
            (
                "[[tenant.extension]]\nnumber = \"101\"\n[[tenant.ring_group]]\nnumber = \"101\"\n",
                "6",
                "twice",
            ),
            (
                "srtp = \"yes\"\n",
                "4",
                "srtp is \"off\", \"optional\" or \"required\", and not \"yes\"",
            ),
            ("srtp = \"\"\n", "4", "and not \"\""),
            ("record = \"yes\"\n", "4", "and not \"yes\""),
            ("record_code = \"1\"\n", "4", "no code"),
            ("record_days = -1\n", "4", "record_days"),
            ("[[tenant.extension]]\nnumber = \"101\"\nrecord = \"on\"\n", "6", "and not \"on\""),
            ("sdes_over_plain = 1\n", "4", "boolean"),
            ("[[tenant.extension]]\nnumber = \"101\"\nsrtp = \"on\"\n", "6", "and not \"on\""),
            ("[[tenant.conference]]\nnumber = \"800\"\npin = \"12a4\"\n", "6", "4 to 16 digits"),
            ("[[tenant.conference]]\nnumber = \"8000\"\npin = \"8000\"\n", "6", "equals"),
            (
                "[[tenant.extension]]\nnumber = \"800\"\n[[tenant.conference]]\nnumber = \"800\"\n",
                "6",
                "twice",
            ),
            ("[[tenant.trunk]]\nname = \"x\"\n", "4", "not available"),
            ("sound_quota = \"much\"\n", "4", "sound_quota"),
            ("[[tenant.sound]]\nname = \"x\"\n", "4", "file"),
            ("[[tenant.sound]]\nname = \"\"\nfile = \"x\"\n", "5", "empty"),
            (
                "[[tenant.sound]]\nname = \"x\"\nfile = \"a\"\n\
                 [[tenant.sound]]\nname = \"x\"\nfile = \"b\"\n",
                "7",
                "twice",
            ),
            ("[[tenant.announcement]]\nnumber = \"700\"\n", "4", "sound"),
            ("[[tenant.announcement]]\nnumber = \"x\"\nsound = \"a\"\n", "5", "number"),
            (
                "[[tenant.ring_group]]\nnumber = \"700\"\n\
                 [[tenant.announcement]]\nnumber = \"700\"\nsound = \"a\"\n",
                "6",
                "twice",
            ),
            ("[[tenant.extension]]\nnumber = 101\n", "5", "string"),
        ];
        for (tail, line, word) in cases {
            let problem = parse(&format!("{head}{tail}"), "f.toml").unwrap_err().to_string();
            assert!(problem.starts_with(&format!("f.toml:{line}: ")), "{problem}");
            assert!(problem.contains(word), "{problem}");
            assert_eq!(problem.lines().count(), 1);
        }
    }

    const REFERENCE: &str = r#"
        [[tenant]]
        domain = "acme.test"
        aliases = ["192.0.2.1"]
        label = "acme"
        name = "Acme"
        country = "AT"
        time_zone = "Europe/Vienna"
        max_calls = 0
        max_call_for = "4h"
        trusted = ["192.0.2.0/24"]
        digest = ["MD5"]
        srtp = "required"
        sdes_over_plain = true
        max_sounds = 20
        sound_quota = "200 MiB"
        record = "on_demand"
        record_code = "*9"
        record_days = 90
        announce_recording = "welcome"
        music = "welcome"
        [[tenant.admin]]
        email = "Boss@acme.test"
        password = "correct horse"
        [[tenant.extension]]
        number = "101"
        password = "secret word"
        name = "Ada"
        email = "ada@acme.test"
        voicemail = true
        max_contacts = 3
        srtp = "off"
        record = "always"
        announce_recording = "quiet"
        music = ""
        [[tenant.ring_group]]
        number = "600"
        members = ["101"]
        [[tenant.conference]]
        number = "800"
        pin = "4711"
        [[tenant.number]]
        number = "+43 123 45"
        to = "101"
        [[tenant.sound]]
        name = "welcome"
        file = "sounds/welcome.mp3"
        [[tenant.announcement]]
        number = "700"
        sound = "welcome"
    "#;

    #[test]
    fn reads_every_key_of_the_reference() {
        let file = parse(REFERENCE, "f.toml").unwrap();
        let tenant = &file.tenants[0];
        assert_eq!(tenant.limits.max_call_s, Some(14_400));
        assert_eq!(tenant.admins[0].email, "boss@acme.test");
        assert_eq!(tenant.numbers[0].number, "+4312345");
        assert_eq!(tenant.conferences[0].pin.as_deref(), Some("4711"));
        assert!(!format!("{tenant:?}").contains("4711"));
        let line_of = |key: &str| {
            let before = REFERENCE.lines().take_while(|line| line.trim() != key);
            before.count() + 1
        };
        assert_eq!(tenant.extensions[0].line, line_of("[[tenant.extension]]"));
        assert_eq!(tenant.encryption.srtp.as_deref(), Some("required"));
        assert_eq!(tenant.encryption.sdes_over_plain, Some(true));
        assert_eq!(tenant.extensions[0].srtp.as_deref(), Some("off"));
        assert_eq!(tenant.limits.sound_bytes, Some(200 << 20));
        assert_eq!(tenant.played.music, named("welcome", line_of("music = \"welcome\"")));
        assert_eq!(tenant.extensions[0].music, named("", line_of("music = \"\"")));
        let said = &tenant.played.announcements[0];
        assert_eq!((said.number.as_str(), said.sound.as_str()), ("700", "welcome"));
        let sound = file.sounds().next().unwrap();
        assert_eq!(sound.domain, "acme.test");
        assert_eq!(sound.line, line_of("[[tenant.sound]]"));
    }

    #[test]
    fn reads_what_is_kept_of_calls() {
        let text = "[[tenant]]\ndomain = \"acme.test\"\nrecord = \"on_demand\"\n\
                    record_code = \"*9\"\nrecord_days = 90\nannounce_recording = \"told\"\n\
                    [[tenant.extension]]\nnumber = \"101\"\nrecord = \"always\"\n\
                    announce_recording = \"\"\n";
        let file = parse(text, "f.toml").unwrap();
        let Recording { rule, code, days, announcement } = &file.tenants[0].recording;
        assert_eq!((rule.as_deref(), code.as_deref()), (Some("on_demand"), Some("*9")));
        assert_eq!((*days, announcement), (Some(90), &named("told", 6)));
        let extension = &file.tenants[0].extensions[0];
        assert_eq!(extension.record.as_deref(), Some("always"));
        assert_eq!(extension.announce_recording, named("", 10));
    }

    fn named(name: &str, line: usize) -> Option<Named> {
        Some(Named { name: name.to_owned(), line })
    }
}
