//! The real program in a folder of its own, with free ports and its own Postgres.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "each test uses a part of it")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use store::cluster::Cluster;

/// Longer than anything here takes on a busy machine; only a failure waits for it.
const LONGEST: Duration = Duration::from_secs(60);

/// Loopback, free ports.
const CONFIG: &str = "
data_dir = \"var\"
[sip]
udp = [\"127.0.0.1:0\"]
tcp = []
tls = []
lanes = 1
[media]
ports = \"20000-20099\"
threads = 1
[stun]
udp = []
[web]
http = [\"127.0.0.1:0\"]
https = []
[admin]
listen = [\"127.0.0.1:0\"]
";

/// A folder in which the program is called.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tenantd-program-{}-{number}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&folder.0).unwrap();
        folder.write("tenantd.toml", CONFIG);
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tenantd"));
        command.args(arguments).current_dir(&self.0).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end: exit code, output, complaints.
    pub(crate) fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        told(self.command(arguments).output().unwrap())
    }

    /// Starts the program and waits for the line that says that it serves.
    pub(crate) fn start(&self, arguments: &[&str]) -> Server {
        let mut server = self.launch(arguments);
        server.wait_for(|line| line.starts_with("tenantd ready"));
        server
    }

    pub(crate) fn launch(&self, arguments: &[&str]) -> Server {
        let mut command = self.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let log = sender.clone();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        std::thread::spawn(move || {
            BufReader::new(err).lines().map_while(Result::ok).try_for_each(|line| log.send(line))
        });
        Server { child, lines, seen: Vec::new() }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A killed server leaves its Postgres behind, on purpose: it is taken over and stopped.
        for data_dir in ["var", "demo"].map(|name| self.0.join(name)) {
            if data_dir.join("postgres").exists() {
                drop(Cluster::start(&data_dir));
            }
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A running program, killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    lines: Receiver<String>,
    /// All that it has said so far.
    pub(crate) seen: Vec<String>,
}

impl Server {
    pub(crate) fn wait_for(&mut self, is_it: impl Fn(&str) -> bool) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(LONGEST) else {
                panic!("it never came, but:\n{}", self.seen.join("\n"));
            };
            self.seen.push(line.clone());
            if is_it(&line) {
                return line;
            }
        }
    }

    /// The address behind a word of the line that says that it serves.
    pub(crate) fn address_of(&self, what: &str) -> String {
        let line = self.seen.iter().find(|line| line.starts_with("tenantd ready")).unwrap();
        let (_, rest) = line.split_once(what).unwrap();
        rest.trim_start().split(',').next().unwrap().to_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Its exit code, once it has ended and said all.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        while let Ok(line) = self.lines.recv_timeout(LONGEST) {
            self.seen.push(line);
        }
        self.child.wait().unwrap().code()
    }

    /// Status and body of a page of the admin listener.
    pub(crate) fn ask(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address_of("admin")).unwrap();
        stream.set_read_timeout(Some(LONGEST)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
