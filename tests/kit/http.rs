//! Asking a web page the simplest way there is.
//!
//! RFC 1945: with HTTP/1.0 the answer ends with its connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::failure::{Failure, Outcome};
use crate::wait::SOON;

/// A page as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its status code.
    pub status: u16,
    /// Its header fields, one a line.
    pub header: String,
    /// What it says.
    pub body: String,
}

/// Gets a page.
///
/// # Errors
/// If nobody listens there or what comes is no page.
pub fn get(server: SocketAddr, path: &str) -> Outcome<Page> {
    ask(server, &format!("GET {path} HTTP/1.0\r\nHost: {server}\r\n\r\n"))
}

/// Sends one request and reads until the connection ends.
///
/// # Errors
/// If nobody listens there or what comes is no page.
pub fn ask(server: SocketAddr, request: &str) -> Outcome<Page> {
    send(server, request.as_bytes())
}

/// The same with a request that is no text.
///
/// # Errors
/// If nobody listens there or what comes is no page.
pub fn send(server: SocketAddr, request: &[u8]) -> Outcome<Page> {
    let mut stream = TcpStream::connect_timeout(&server, SOON)?;
    stream.set_read_timeout(Some(SOON))?;
    stream.write_all(request)?;
    let mut bytes = vec![];
    stream.read_to_end(&mut bytes)?;
    parse(&String::from_utf8_lossy(&bytes))
        .ok_or_else(|| Failure::new(format!("{server} sent no page")))
}

impl Page {
    /// A header field's value.
    pub fn field(&self, name: &str) -> Option<&str> {
        let fields = self.header.lines().filter_map(|line| line.split_once(':'));
        let mut found = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.trim())
    }
}

fn parse(text: &str) -> Option<Page> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let (status_line, header) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = status_line.split(' ').nth(1)?.parse().ok()?;
    Some(Page { status, header: header.to_owned(), body: body.to_owned() })
}
