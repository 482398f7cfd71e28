//! A router's SIP ALG as many homes have one: a box that rewrites what passes, half of it wrongly.
//!
//! It takes datagrams for the server out of the router's hands, sends them on from a port of its own
//! and writes that where the phone had written its private address: into Via, Contact and the
//! connection line of a session description (RFC 4566 §5.7), but neither into its origin line nor
//! into the Call-ID. What comes back is written back. It knows UDP alone.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use nix::poll::{PollFd, PollFlags, poll};

use crate::failure::Outcome;

/// Where the router hands it what is for the server.
pub const PORT: u16 = 15_060;
/// A box to which nothing comes looks this often whether it is over, in milliseconds.
const LOOK_EVERY_MS: u16 = 50;

/// A box at work. Dropping it ends it.
#[derive(Debug)]
pub struct Alg {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The box, within its thread.
struct Rewriting {
    inside: UdpSocket,
    outside: Ipv4Addr,
    server: SocketAddr,
    /// Its socket for each phone.
    phones: BTreeMap<SocketAddr, UdpSocket>,
}

impl Alg {
    /// Begins to rewrite, in the namespace of the router that has this public address.
    ///
    /// # Errors
    /// If its port is taken.
    pub fn start(outside: Ipv4Addr, server: SocketAddr) -> Outcome<Self> {
        let inside = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
        inside.set_nonblocking(true)?;
        let mut rewriting = Rewriting { inside, outside, server, phones: BTreeMap::new() };
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        // A thread begins in the network of the one that starts it.
        let thread = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                // A port that nobody listens at any more says so; a router does not care.
                let _ = rewriting.wait().and_then(|()| rewriting.pass());
            }
        });
        Ok(Self { over, thread: Some(thread) })
    }
}

impl Drop for Alg {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed already.
            let _ = thread.join();
        }
    }
}

impl Rewriting {
    /// Waits until something comes, and no longer than it takes to look whether all is over.
    fn wait(&self) -> Outcome {
        let sockets = [&self.inside].into_iter().chain(self.phones.values());
        let mut ready: Vec<PollFd<'_>> =
            sockets.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
        poll(&mut ready, LOOK_EVERY_MS)?;
        Ok(())
    }

    /// Passes on what has come.
    fn pass(&mut self) -> Outcome {
        let mut bytes = [0; 65_536];
        if let Some((length, phone)) = came(self.inside.recv_from(&mut bytes))? {
            if !self.phones.contains_key(&phone) {
                let socket = UdpSocket::bind((self.outside, 0))?;
                socket.connect(self.server)?;
                socket.set_nonblocking(true)?;
                self.phones.insert(phone, socket);
            }
            let socket = &self.phones[&phone];
            socket.send(&outwards(&bytes[..length], phone, socket.local_addr()?))?;
        }
        for (phone, socket) in &self.phones {
            if let Some((length, _)) = came(socket.recv_from(&mut bytes))? {
                let back = inwards(&bytes[..length], *phone, socket.local_addr()?);
                self.inside.send_to(&back, phone)?;
            }
        }
        Ok(())
    }
}

fn came(received: std::io::Result<(usize, SocketAddr)>) -> Outcome<Option<(usize, SocketAddr)>> {
    match received {
        Ok(received) => Ok(Some(received)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What a phone says, as the server gets it.
fn outwards(bytes: &[u8], phone: SocketAddr, mapped: SocketAddr) -> Vec<u8> {
    let (ip, at) = (phone.ip().to_string(), phone.to_string());
    rewrite(bytes, |line| {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        match name.as_str() {
            "via" | "v" | "contact" | "m" => line.replace(&at, &mapped.to_string()),
            _ if line.starts_with("c=") => line.replace(&ip, &mapped.ip().to_string()),
            _ => line.to_owned(),
        }
    })
}

/// What the server says, as the phone gets it.
fn inwards(bytes: &[u8], phone: SocketAddr, mapped: SocketAddr) -> Vec<u8> {
    rewrite(bytes, |line| line.replace(&mapped.to_string(), &phone.to_string()))
}

/// Rewrites a message line by line, and corrects its Content-Length.
fn rewrite(bytes: &[u8], each: impl Fn(&str) -> String) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(bytes) else { return bytes.to_vec() };
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return bytes.to_vec() };
    let lines = |text: &str| text.split("\r\n").map(&each).collect::<Vec<_>>().join("\r\n");
    let body = lines(body);
    let head: Vec<String> = lines(head)
        .split("\r\n")
        .map(|line| match line.split_once(':') {
            Some((name, _)) if name.eq_ignore_ascii_case("content-length") => {
                format!("{name}: {}", body.len())
            }
            Some(_) | None => line.to_owned(),
        })
        .collect();
    format!("{}\r\n\r\n{body}", head.join("\r\n")).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_private_addresses_are_rewritten_and_written_back() {
        let phone = SocketAddr::from(([192, 168, 1, 10], 5_060));
        let mapped = SocketAddr::from(([203, 0, 113, 101], 40_123));
        let body = "v=0\r\no=- 1 1 IN IP4 192.168.1.10\r\nc=IN IP4 192.168.1.10\r\n";
        let message = format!(
            "INVITE sip:102@a.test SIP/2.0\r\nVia: SIP/2.0/UDP 192.168.1.10:5060;rport\r\n\
             Call-ID: 1@192.168.1.10\r\nContact: <sip:101@192.168.1.10:5060>\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let out = String::from_utf8(outwards(message.as_bytes(), phone, mapped)).unwrap();
        assert_eq!(out.matches("203.0.113.101:40123").count(), 2, "{out}");
        assert!(out.contains("c=IN IP4 203.0.113.101") && out.contains("o=- 1 1 IN IP4 192.168"));
        assert!(out.contains("Call-ID: 1@192.168.1.10"), "{out}");
        let length = out.split("\r\n\r\n").nth(1).map(str::len).unwrap();
        assert!(out.contains(&format!("Content-Length: {length}\r\n")), "{out}");
        let back = "BYE sip:101@203.0.113.101:40123 SIP/2.0\r\nCall-ID: 1\r\n\r\n";
        let back = String::from_utf8(inwards(back.as_bytes(), phone, mapped)).unwrap();
        assert!(back.starts_with("BYE sip:101@192.168.1.10:5060 "), "{back}");
    }
}
