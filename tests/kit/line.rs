//! A way to the server over any transport, for phones of our own: what is sent goes as it is, and
//! what comes is cut into messages.
//!
//! RFC 3261 §18.3.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::failure::{Failure, Outcome};
use crate::tls::Trust;
use crate::wait::SOON;

/// A connection that takes nothing for so long is full.
const FULL_AFTER: Duration = Duration::from_millis(300);
/// More than any system holds for a connection.
const MOST_TIMES: usize = 10_000;

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
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
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
        let from: IpAddr = match (server.ip().is_loopback(), server) {
            (true, SocketAddr::V4(_)) => Ipv4Addr::LOCALHOST.into(),
            (true, SocketAddr::V6(_)) => Ipv6Addr::LOCALHOST.into(),
            (false, SocketAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
            (false, SocketAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((from, 0))?;
        socket.connect(server)?;
        let local = socket.local_addr()?;
        Ok(Self { local, server, way: Way::Udp(socket), unread: vec![] })
    }

    /// A connection.
    ///
    /// # Errors
    /// If nobody takes it.
    pub fn tcp(server: SocketAddr) -> Outcome<Self> {
        let stream = connect(server)?;
        let local = stream.local_addr()?;
        Ok(Self { local, server, way: Way::Tcp(stream), unread: vec![] })
    }

    /// An encrypted connection, asking for that name (for an address no name is asked for).
    ///
    /// # Errors
    /// If nobody takes it, or what is shown there is not believed.
    pub fn tls(server: SocketAddr, name: &str, trust: &Trust) -> Outcome<Self> {
        let stream = connect(server)?;
        let local = stream.local_addr()?;
        let name = ServerName::try_from(name.to_owned())?;
        let connection = ClientConnection::new(trust.config()?, name)?;
        let mut stream = StreamOwned::new(connection, stream);
        stream.sock.set_read_timeout(Some(SOON))?;
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        let (way, unread) = (Way::Tls(Box::new(stream)), vec![]);
        Ok(Self { local, server, way, unread })
    }

    /// The certificate that the server has shown.
    pub fn certificate(&self) -> Option<Vec<u8>> {
        match &self.way {
            Way::Udp(_) | Way::Tcp(_) => None,
            Way::Tls(stream) => {
                stream.conn.peer_certificates()?.first().map(|certificate| certificate.to_vec())
            }
        }
    }

    /// The transport's name in a Via.
    pub fn transport(&self) -> &'static str {
        match &self.way {
            Way::Udp(_) => "UDP",
            Way::Tcp(_) => "TCP",
            Way::Tls(_) => "TLS",
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
            Way::Tls(stream) => stream.write_all(bytes)?,
        }
        Ok(())
    }

    /// Sends these bytes again and again, until the other side takes nothing for a while.
    ///
    /// # Errors
    /// If this is no connection, or it is cut.
    pub fn fill(&mut self, bytes: &[u8]) -> Outcome {
        let Way::Tcp(stream) = &mut self.way else {
            return Err(Failure::new("only a connection can be full"));
        };
        stream.set_write_timeout(Some(FULL_AFTER))?;
        for _ in 0..MOST_TIMES {
            match stream.write_all(bytes) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure::new("there is always room for more"))
    }

    /// Says that nothing more is sent, and goes on listening.
    ///
    /// # Errors
    /// If the way is cut.
    pub fn end_sending(&mut self) -> Outcome {
        match &mut self.way {
            Way::Udp(_) => {}
            Way::Tcp(stream) => stream.shutdown(Shutdown::Write)?,
            Way::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush()?;
            }
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

    /// All text that comes until the connection ends.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn everything(&mut self) -> Outcome<String> {
        let mut bytes = vec![0; 65_536];
        loop {
            match self.read(&mut bytes, SOON) {
                Ok(0) => break,
                Ok(count) => self.unread.extend(bytes.iter().take(count)),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned())
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
                Ok(0) if !matches!(self.way, Way::Udp(_)) => return Ok(Came::End),
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
            Way::Tls(stream) => {
                stream.sock.set_read_timeout(Some(within))?;
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

fn connect(server: SocketAddr) -> Outcome<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, SOON)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(SOON))?;
    Ok(stream)
}

/// A header field's value in a message.
pub fn field<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let head = message.split("\r\n\r\n").next()?;
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut found = fields.filter(|(field, _)| field.trim().eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.trim())
}
