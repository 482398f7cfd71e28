//! Messages made to break servers, byte for byte, against the running one.
//!
//! RFC 4475, all 49 of them, over datagrams, connections and encrypted connections.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kit::company::Company;
use kit::failure::{Failure, Outcome};
use kit::handset::{Handset, status};
use kit::line::{Came, Line};
use kit::scene::play;
use kit::server::Server;
use kit::tls::Trust;
use kit::wait::SOON;

/// An answer on loopback takes less than a thousandth of this.
const SILENCE: Duration = Duration::from_millis(700);

/// A message, and what must come of it.
struct Case {
    name: String,
    bytes: Vec<u8>,
    by_datagram: String,
    on_connection: String,
}

fn cases() -> Outcome<Vec<Case>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("torture");
    let table = fs::read_to_string(folder.join("served.tsv"))?;
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| case(&folder, line)).collect()
}

fn case(folder: &Path, line: &str) -> Outcome<Case> {
    let columns: Vec<_> = line.split('\t').map(str::to_owned).collect();
    let [name, by_datagram, on_connection, _why] = <[String; 4]>::try_from(columns)
        .map_err(|columns| Failure::new(format!("not four columns: {columns:?}")))?;
    let file: PathBuf = folder.join("rfc4475").join(format!("{name}.dat"));
    Ok(Case { name, bytes: fs::read(file)?, by_datagram, on_connection })
}

/// Everything that comes, until nothing has come for a while or the connection has ended.
fn answers(line: &mut Line) -> Outcome<Vec<String>> {
    let mut answers = vec![];
    loop {
        match line.next(SILENCE)? {
            Came::Message(message) => answers.push(status(&message).to_string()),
            Came::Nothing => return Ok(answers),
            Came::End => {
                answers.push("end".to_owned());
                return Ok(answers);
            }
        }
    }
}

/// Sends all of them, each on a line of its own, and says which are not answered as they must be.
fn wrong(
    wanted: impl Fn(&Case) -> &str,
    mut line: impl FnMut() -> Outcome<Line>,
) -> Outcome<Vec<String>> {
    let mut sent = vec![];
    for case in cases()? {
        let mut line = line()?;
        line.send(&case.bytes)?;
        sent.push((case, line));
    }
    let threads: Vec<_> = sent
        .into_iter()
        .map(|(case, mut line)| {
            let wanted = wanted(&case).to_owned();
            std::thread::spawn(move || {
                let mut came = answers(&mut line)?;
                let (half, wanted) = match wanted.strip_prefix("half ") {
                    Some(rest) => (true, format!("{rest} end")),
                    None => (false, wanted),
                };
                if half && came.is_empty() {
                    line.end_sending()?;
                }
                if wanted.ends_with("end") && came.last().is_none_or(|last| last != "end") {
                    came.extend(answers(&mut line)?);
                    let is_open = came.last().is_none_or(|last| last != "end");
                    if is_open && line.wait_for_end(SOON).is_ok() {
                        came.push("end".to_owned());
                    }
                }
                let came = if came.is_empty() { "-".to_owned() } else { came.join(" ") };
                let wrong = format!("{}: {came}, not {wanted}", case.name);
                Outcome::Ok((came != wanted).then_some(wrong))
            })
        })
        .collect();
    let mut wrong = vec![];
    for thread in threads {
        let outcome = thread.join().map_err(|_| Failure::new("a line panicked"))?;
        wrong.extend(outcome?);
    }
    Ok(wrong)
}

#[test]
fn each_of_the_49_is_answered_as_it_must_be_on_every_transport() {
    play("torture", |scene| {
        let mut company = Company::new("example.com");
        company.settings = "aliases = [\"example.net\", \"example.org\", \"company.com\", \
                            \"chair-dnrc.example.com\", \"registrar.example.com\"]\n"
            .to_owned();
        let server = Server::start_everywhere(scene, &[&company])?;
        assert_eq!(cases()?.len(), 49);
        let by_datagram = wrong(|case| case.by_datagram.as_str(), || Line::udp(server.at.sip))?;
        assert!(by_datagram.is_empty(), "{by_datagram:#?}");
        let connected = wrong(|case| case.on_connection.as_str(), || Line::tcp(server.at.sip))?;
        assert!(connected.is_empty(), "{connected:#?}");
        let tls = || Line::tls(server.at.tls(), "example.com", &Trust::Anybody);
        let encrypted = wrong(|case| case.on_connection.as_str(), tls)?;
        assert!(encrypted.is_empty(), "{encrypted:#?}");
        let mut phone = Handset::new(&company, "101", Line::tcp(server.at.sip)?);
        phone.register(600).map(drop)
    });
}
