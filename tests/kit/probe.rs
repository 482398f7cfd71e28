//! A bare datagram socket that sends what it is told and shows what comes back.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::failure::Outcome;

/// A socket on 127.0.0.1.
#[derive(Debug)]
pub struct Probe {
    socket: UdpSocket,
    requests: u32,
}

impl Probe {
    /// Opens it on any free port.
    ///
    /// # Errors
    /// If there is none.
    pub fn new() -> Outcome<Self> {
        Ok(Self { socket: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, requests: 0 })
    }

    /// Its address.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn address(&self) -> Outcome<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    /// Sends these bytes as they are.
    ///
    /// # Errors
    /// If the system does not.
    pub fn send(&self, server: SocketAddr, bytes: &[u8]) -> Outcome {
        self.socket.send_to(bytes, server)?;
        Ok(())
    }

    /// A request outside of any dialog, new each time.
    ///
    /// # Errors
    /// If the system does not tell our address.
    pub fn request(&mut self, method: &str, target: &str, user: &str) -> Outcome<String> {
        self.requests += 1;
        let (number, at) = (self.requests, self.address()?);
        Ok(format!(
            "{method} {target} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {at};rport;branch=z9hG4bKprobe{number}p{port}\r\n\
             Max-Forwards: 70\r\n\
             From: <{user}>;tag=probe{number}\r\n\
             To: <{user}>\r\n\
             Call-ID: probe{number}-{port}@{at}\r\n\
             CSeq: {number} {method}\r\n\
             Contact: <sip:probe@{at}>\r\n\
             Content-Length: 0\r\n\r\n",
            port = at.port()
        ))
    }

    /// The first datagram that comes, if one does.
    ///
    /// # Errors
    /// If the socket fails.
    pub fn answer(&self, within: Duration) -> Outcome<Option<String>> {
        let ends_at = Instant::now() + within;
        let mut bytes = vec![0; 65_536];
        loop {
            let left = ends_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.recv_from(&mut bytes) {
                Ok((length, _)) => {
                    let text = bytes.get(..length).unwrap_or_default();
                    return Ok(Some(String::from_utf8_lossy(text).into_owned()));
                }
                Err(error)
                    if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
                // Nobody listened when we sent: that is silence, too.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
