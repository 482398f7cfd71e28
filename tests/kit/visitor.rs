//! Somebody who is signed in to the portal, without a browser: gets pages, sends forms and files.

use std::net::SocketAddr;

use crate::company::Company;
use crate::failure::Outcome;
use crate::http::{self, Page};

/// No file of a test holds this.
const BOUNDARY: &str = "--------a-boundary-of-the-tests";

/// A company's admin.
#[derive(Debug)]
pub struct Visitor {
    at: SocketAddr,
    cookie: String,
    /// The path of the company's pages.
    pub home: String,
}

impl Visitor {
    /// Signs in.
    ///
    /// # Errors
    /// If nobody shows pages there.
    pub fn sign_in(at: SocketAddr, company: &Company) -> Outcome<Self> {
        let (email, password) = company.admin();
        let mut visitor = Self { at, cookie: String::new(), home: String::new() };
        let form = format!("email={email}&password={password}");
        let answer = visitor.post("/login", &form)?;
        let cookie = answer.field("set-cookie").unwrap_or_default();
        visitor.cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        visitor.home = visitor.get("/")?.field("location").unwrap_or_default().to_owned();
        Ok(visitor)
    }

    /// Gets a page.
    ///
    /// # Errors
    /// If nobody shows pages there.
    pub fn get(&self, path: &str) -> Outcome<Page> {
        let Self { at, cookie, .. } = self;
        http::ask(*at, &format!("GET {path} HTTP/1.0\r\nHost: {at}\r\nCookie: {cookie}\r\n\r\n"))
    }

    /// Sends a form without a file.
    ///
    /// # Errors
    /// If nobody shows pages there.
    pub fn post(&self, path: &str, form: &str) -> Outcome<Page> {
        self.send(path, "application/x-www-form-urlencoded", form.as_bytes())
    }

    /// Sends a form with a file.
    ///
    /// # Errors
    /// If nobody shows pages there.
    pub fn upload(&self, path: &str, fields: &[(&str, &str)], file: &[u8]) -> Outcome<Page> {
        let texts = fields.iter().map(|(name, value)| {
            format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            )
        });
        let texts: String = texts.collect();
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.mp3\"\r\n\
             Content-Type: audio/mpeg\r\n\r\n"
        );
        let end = format!("\r\n--{BOUNDARY}--\r\n");
        let body = [texts.as_bytes(), head.as_bytes(), file, end.as_bytes()].concat();
        self.send(path, &format!("multipart/form-data; boundary={BOUNDARY}"), &body)
    }

    /// What forms of this page prove themselves with.
    ///
    /// # Errors
    /// If nobody shows pages there.
    pub fn csrf(&self, path: &str) -> Outcome<String> {
        let page = self.get(path)?.body;
        let value = page.split("name=\"csrf\" value=\"").nth(1).unwrap_or_default();
        Ok(value.split('"').next().unwrap_or_default().to_owned())
    }

    fn send(&self, path: &str, kind: &str, body: &[u8]) -> Outcome<Page> {
        let Self { at, cookie, .. } = self;
        let head = format!(
            "POST {path} HTTP/1.0\r\nHost: {at}\r\nCookie: {cookie}\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        http::send(*at, &[head.as_bytes(), body].concat())
    }
}
