//! What the demo prints: where the pages are, who signs in there, and how a phone is set up.

use std::io::{self, Write};

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use super::companies::{Company, Demo, Extension, Login, PROVIDER};
use crate::reach::Reach;

impl Demo {
    /// Says where everything is. Each address stands before a space, so that it can be cut out.
    ///
    /// # Errors
    /// If the output is closed.
    pub fn print(&self, reach: &Reach, out: &mut impl Write) -> io::Result<()> {
        let plain = reach.page.map(|page| format!("http://{page}/"));
        let encrypted = reach.encrypted_page.map(|page| format!("https://{page}/"));
        let page = plain.as_ref().or(encrypted.as_ref()).map_or("none", String::as_str);
        writeln!(out)?;
        writeln!(out, "Provider: {page} ")?;
        if let (Some(_), Some(encrypted)) = (&plain, &encrypted) {
            writeln!(out, "    from other machines: {encrypted} (your browser will ask: its")?;
            writeln!(out, "    certificate is self-signed)")?;
        }
        writeln!(out, "    sign in as {PROVIDER} with {}", self.provider_password())?;
        for company in &self.companies {
            writeln!(out)?;
            writeln!(out, "{}: {page} ", company.name)?;
            print_company(company, reach, out)?;
        }
        writeln!(out, "Call 600 to ring everybody, or the other company by its public number.")
    }
}

fn print_company(company: &Company, reach: &Reach, out: &mut impl Write) -> io::Result<()> {
    for Login { email, password } in &company.admin {
        writeln!(out, "    sign in as {email} with {password}")?;
    }
    let proxy = match (reach.sip, reach.sip_here()) {
        (Some(sip), Some(here)) => {
            writeln!(out, "    domain {}, outbound proxy {sip}", company.domain)?;
            if sip != here {
                writeln!(out, "    (for a softphone on this machine: outbound proxy {here})")?;
            }
            sip.to_string()
        }
        (Some(_), None) | (None, _) => {
            return writeln!(out, "    domain {}, no SIP here", company.domain);
        }
    };
    for Extension { number, password } in &company.extension {
        writeln!(out, "    user {number}, password {password}")?;
    }
    for number in &company.number {
        writeln!(out, "    {} rings {}", number.number, number.to)?;
    }
    if let Some(Extension { number, password }) = company.extension.first() {
        let card = format!("sip:{number}@{}\npassword: {password}\nproxy: {proxy}", company.domain);
        writeln!(out, "    the card of {number} as a QR code:")?;
        writeln!(out, "{}", code(&card))?;
    }
    Ok(())
}

/// Dark on light, as cameras want it, on a terminal that writes light on dark.
fn code(text: &str) -> String {
    match QrCode::new(text) {
        Ok(code) => code
            .render::<Dense1x2>()
            .dark_color(Dense1x2::Light)
            .light_color(Dense1x2::Dark)
            .build(),
        // Too long for any code: the card is printed above, too.
        Err(_) => String::new(),
    }
}
