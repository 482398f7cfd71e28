//! A way to the server over any transport, for phones of our own: what is sent goes as it is, and
//! what comes is cut into messages.
//!
//! RFC 3261 §18.3.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome};
use crate::wait::SOON;

/// A way to the server. Dropping it cuts it.
#[derive(Debug)]
pub struct Line {
    /// Our end.
    pub local: SocketAddr,
    /// The server's end.
    pub server: SocketAddr,
    way: Way,
    unread: Vec<u8>,
}

#[derive(Debug)]
enum Way {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// A whole message.
    Message(String),
    /// Nothing, and it was waited for.
    Nothing,
    /// The server has closed the connection.
    End,
}

impl Line {
    /// Datagrams, from any free port.
    ///
    /// # Errors
    /// If there is none.
    pub fn udp(server: SocketAddr) -> Outcome<Self> {
        let socket = match server {
            SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?,
            SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::LOCALHOST, 0))?,
        };
        socket.connect(server)?;
        let local = socket.local_addr()?;
        Ok(Self { local, server, way: Way::Udp(socket), unread: vec![] })
    }

    /// A connection.
    ///
    /// # Errors
    /// If nobody takes it.
    pub fn tcp(server: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect_timeout(&server, SOON)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(SOON))?;
        let local = stream.local_addr()?;
        Ok(Self { local, server, way: Way::Tcp(stream), unread: vec![] })
    }

    /// The transport's name in a Via.
    pub fn transport(&self) -> &'static str {
        match &self.way {
            Way::Udp(_) => "UDP",
            Way::Tcp(_) => "TCP",
        }
    }

    /// Sends these bytes as they are.
    ///
    /// # Errors
    /// If the way is cut.
    pub fn send(&mut self, bytes: &[u8]) -> Outcome {
        match &mut self.way {
            Way::Udp(socket) => drop(socket.send(bytes)?),
            Way::Tcp(stream) => stream.write_all(bytes)?,
        }
        Ok(())
    }

    /// The next message.
    ///
    /// # Errors
    /// If none comes in time.
    pub fn message(&mut self) -> Outcome<String> {
        match self.next(SOON)? {
            Came::Message(message) => Ok(message),
            other => Err(Failure::new(format!("no message from {}: {other:?}", self.server))),
        }
    }

    /// Waits until the server has closed the connection; messages before that are passed over.
    ///
    /// # Errors
    /// If it does not in time.
    pub fn wait_for_end(&mut self, within: Duration) -> Outcome {
        let ends_at = Instant::now() + within;
        loop {
            match self.next(ends_at.saturating_duration_since(Instant::now()))? {
                Came::End => return Ok(()),
                Came::Message(_) => {}
                Came::Nothing => {
                    return Err(Failure::new(format!("{} keeps us connected", self.server)));
                }
            }
        }
    }

    /// What comes next.
    ///
    /// # Errors
    /// If the way fails.
    pub fn next(&mut self, within: Duration) -> Outcome<Came> {
        let ends_at = Instant::now() + within;
        loop {
            if let Some(message) = self.cut() {
                return Ok(Came::Message(message));
            }
            let left = ends_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Came::Nothing);
            }
            let mut bytes = vec![0; 65_536];
            match self.read(&mut bytes, left) {
                Ok(0) if matches!(self.way, Way::Tcp(_)) => return Ok(Came::End),
                Ok(count) => self.unread.extend(bytes.iter().take(count)),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused => {}
                    ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => return Ok(Came::End),
                    _ => return Err(error.into()),
                },
            }
        }
    }

    fn read(&mut self, bytes: &mut [u8], within: Duration) -> std::io::Result<usize> {
        match &mut self.way {
            Way::Udp(socket) => {
                socket.set_read_timeout(Some(within))?;
                socket.recv(bytes)
            }
            Way::Tcp(stream) => {
                stream.set_read_timeout(Some(within))?;
                stream.read(bytes)
            }
        }
    }

    /// A message, if one is whole; line ends before it are passed over.
    fn cut(&mut self) -> Option<String> {
        let blank = self.unread.iter().take_while(|byte| b"\r\n".contains(byte)).count();
        self.unread.drain(..blank);
        let text = String::from_utf8_lossy(&self.unread).into_owned();
        let head = text.find("\r\n\r\n")? + 4;
        let length: usize =
            field(&text, "Content-Length").and_then(|l| l.parse().ok()).unwrap_or(0);
        let whole = text.get(..head + length)?.to_owned();
        self.unread.drain(..head + length);
        Some(whole)
    }
}

/// A header field's value in a message.
pub fn field<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let head = message.split("\r\n\r\n").next()?;
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut found = fields.filter(|(field, _)| field.trim().eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.trim())
}
