//! A server that is measured: its address, its processes, and how it is ended.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kit::failure::Outcome;
use kit::program::Program;
use nix::sys::signal::Signal;

use crate::meter::Tree;

/// How long a server may take to end; Kamailio writes all that it has not written yet.
const ENDS_WITHIN: Duration = Duration::from_secs(150);

/// One side of a comparison.
pub(crate) struct Side {
    /// What it is and how it is set up, for the output.
    pub(crate) name: String,
    pub(crate) address: SocketAddrV4,
    /// All that is charged for what it does.
    pub(crate) trees: Vec<Tree>,
}

/// Where a port of this machine is.
pub(crate) fn local(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

/// Asks a program to end, and waits until it has.
pub(crate) fn end(program: &mut Program) -> Outcome {
    program.signal(Signal::SIGTERM)?;
    program.wait(ENDS_WITHIN)?;
    Ok(())
}

/// Makes a folder with nothing in it.
pub(crate) fn empty(folder: &Path) -> Outcome {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    Ok(fs::create_dir_all(folder)?)
}

/// Where an installed program is; daemons may lie where an ordinary user does not look.
pub(crate) fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/usr/local/sbin", "/sbin"]);
    let mut places = folders.map(|folder| PathBuf::from(folder).join(name));
    places.find(|place| place.is_file())
}

/// Whether a SIP server answers there.
pub(crate) fn answers(address: SocketAddrV4) -> bool {
    let ask = || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let from = socket.local_addr()?;
        let ping = format!(
            "OPTIONS sip:{address} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKstart\r\n\
             From: <sip:load@{from}>;tag=1\r\nTo: <sip:{address}>\r\nCall-ID: start@{from}\r\n\
             CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        socket.send_to(ping.as_bytes(), address)?;
        socket.recv(&mut [0; 2_048])
    };
    ask().is_ok()
}
