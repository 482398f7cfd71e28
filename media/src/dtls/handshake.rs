//! One handshake: both ends show their certificates, and agree on keys that nobody else knows.
//!
//! DTLS 1.2 (RFC 6347) with `use_srtp` (RFC 5764 §4.1), by OpenSSL: it takes certificates of RSA
//! and ECDSA in both parts, and phones have both. It reads from and writes to memory; its clock for
//! repeating what was lost (§4.2.4) is its own, and it looks at it when it is asked to go on.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};

use openssl::error::ErrorStack;
use openssl::memcmp;
use openssl::srtp::SrtpProfileId;
use openssl::ssl::{ErrorCode, Ssl, SslStream};
use pbx::media::{DtlsRole, Key, Suite};
use zeroize::Zeroizing;

use super::identity::{Identity, fingerprint};
use crate::srtp::material_len;

/// What fits every network, IPv6 in a tunnel included.
const MTU: u32 = 1_200;
/// A flight has fewer datagrams; what comes beyond is lost, and repeated by whoever sent it.
const WAITING: usize = 16;
/// RFC 5764 §4.2.
const LABEL: &str = "EXTRACTOR-dtls_srtp";
const MASTER: usize = 16;

/// One, going on or done.
pub(super) struct Handshake {
    stream: SslStream<Wire>,
    role: DtlsRole,
    theirs: [u8; 32],
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    GoesOn,
    Done,
    Failed,
}

/// How far it is.
pub(super) enum Progress {
    /// It goes on, or went on to do what it had done before.
    GoesOn,
    /// It has just ended with these keys.
    Done { ours: Key, theirs: Key },
    /// It can never end.
    Failed,
}

/// Datagrams on their way in and out.
#[derive(Debug, Default)]
struct Wire {
    incoming: VecDeque<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
}

impl Handshake {
    /// Begins one with a peer whose certificate has this fingerprint.
    pub(super) fn begin(
        identity: &Identity,
        role: DtlsRole,
        theirs: [u8; 32],
    ) -> Result<Self, ErrorStack> {
        let mut ssl = Ssl::new(identity.context())?;
        match role {
            DtlsRole::Client => ssl.set_connect_state(),
            DtlsRole::Server => ssl.set_accept_state(),
        }
        ssl.set_mtu(MTU)?;
        let stream = SslStream::new(ssl, Wire::default())?;
        Ok(Self { stream, role, theirs, state: State::GoesOn })
    }

    /// A datagram came.
    pub(super) fn handle_datagram(&mut self, datagram: &[u8]) -> Progress {
        let incoming = &mut self.stream.get_mut().incoming;
        if incoming.len() < WAITING {
            incoming.push_back(datagram.to_vec());
        }
        self.go_on()
    }

    /// Time has passed, or something came.
    pub(super) fn go_on(&mut self) -> Progress {
        match self.state {
            State::GoesOn => {}
            State::Done => {
                // The peer has not heard our last word: reading makes us say it again. There is
                // nothing else to be read.
                let _ = self.stream.ssl_read(&mut [0; 64]);
                return Progress::GoesOn;
            }
            State::Failed => return Progress::Failed,
        }
        match self.stream.do_handshake() {
            Ok(()) => {}
            Err(error) if error.code() == ErrorCode::WANT_READ => return Progress::GoesOn,
            Err(_) => {
                self.state = State::Failed;
                return Progress::Failed;
            }
        }
        let keys = self.is_with_our_peer().then(|| self.keys()).flatten();
        let (state, progress) = match keys {
            Some((ours, theirs)) => (State::Done, Progress::Done { ours, theirs }),
            None => (State::Failed, Progress::Failed),
        };
        self.state = state;
        progress
    }

    /// What is to be sent.
    pub(super) fn poll_output(&mut self) -> Option<Vec<u8>> {
        self.stream.get_mut().outgoing.pop_front()
    }

    fn is_with_our_peer(&self) -> bool {
        let certificate = self.stream.ssl().peer_certificate();
        let shown = certificate.and_then(|certificate| fingerprint(&certificate).ok());
        shown.is_some_and(|shown| memcmp::eq(&shown, &self.theirs))
    }

    /// RFC 5764 §4.2: both keys, then both salts, the client's first.
    fn keys(&self) -> Option<(Key, Key)> {
        let ssl = self.stream.ssl();
        let suite = match ssl.selected_srtp_profile()?.id() {
            SrtpProfileId::SRTP_AEAD_AES_128_GCM => Suite::AeadAes128Gcm,
            SrtpProfileId::SRTP_AES128_CM_SHA1_80 => Suite::AesCm128HmacSha1_80,
            SrtpProfileId::SRTP_AES128_CM_SHA1_32 => Suite::AesCm128HmacSha1_32,
            _ => return None,
        };
        let salt = material_len(suite) - MASTER;
        let mut all = Zeroizing::new(vec![0; 2 * (MASTER + salt)]);
        ssl.export_keying_material(&mut all, LABEL, None).ok()?;
        let (keys, salts) = all.split_at_checked(2 * MASTER)?;
        let (client_key, server_key) = keys.split_at_checked(MASTER)?;
        let (client_salt, server_salt) = salts.split_at_checked(salt)?;
        let client = Key { suite, material: [client_key, client_salt].concat() };
        let server = Key { suite, material: [server_key, server_salt].concat() };
        Some(match self.role {
            DtlsRole::Client => (client, server),
            DtlsRole::Server => (server, client),
        })
    }
}

impl Read for Wire {
    /// One datagram a time, as DTLS expects.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let datagram = self.incoming.pop_front().ok_or(ErrorKind::WouldBlock)?;
        let len = datagram.len().min(into.len());
        into.iter_mut().zip(&datagram).for_each(|(to, from)| *to = *from);
        Ok(len)
    }
}

impl Write for Wire {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        if self.outgoing.len() < WAITING {
            self.outgoing.push_back(datagram.to_vec());
        }
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
