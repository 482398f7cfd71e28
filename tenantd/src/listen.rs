//! TCP addresses, opened before anything else begins, so that one in use is named at once.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, bind,
    listen, setsockopt, socket, sockopt,
};

/// Why an address could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Another program has it.
    #[error("tcp {0} is in use")]
    InUse(SocketAddr),
    /// Anything else.
    #[error("tcp {0} cannot be opened: {1}")]
    Refused(SocketAddr, #[source] io::Error),
}

/// Opens an address; `None` for `[::]` on a machine without IPv6.
///
/// # Errors
/// If the address is in use, or is none of this machine's.
pub fn open(address: SocketAddr) -> Result<Option<TcpListener>, Failure> {
    let opened = match address {
        SocketAddr::V4(address) => bound(AddressFamily::Inet, &SockaddrIn::from(address)),
        SocketAddr::V6(address) => bound(AddressFamily::Inet6, &SockaddrIn6::from(address)),
    };
    let listener = match opened {
        Ok(listener) => listener,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            return Err(Failure::InUse(address));
        }
        Err(error) => {
            let errno = error.raw_os_error().map(Errno::from_raw);
            let has_no_v6 = matches!(errno, Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL));
            if address.is_ipv6() && address.ip().is_unspecified() && has_no_v6 {
                tracing::info!("tcp {address} is left out: this machine has no IPv6");
                return Ok(None);
            }
            return Err(Failure::Refused(address, error));
        }
    };
    let prepared = listener.set_nonblocking(true);
    prepared.map(|()| Some(listener)).map_err(|error| Failure::Refused(address, error))
}

/// With SO_REUSEADDR, so that a connection in TIME_WAIT is no conflict, and with room for as many
/// that connect at once as the system allows: after a power cut all phones do.
fn bound(family: AddressFamily, address: &dyn SockaddrLike) -> io::Result<TcpListener> {
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    if family == AddressFamily::Inet6 {
        // `0.0.0.0` and `[::]` stand side by side in the configuration.
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), address)?;
    listen(&socket, Backlog::MAXALLOWABLE)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_is_named() {
        let first = open("127.0.0.1:0".parse().unwrap()).unwrap().unwrap();
        let address = first.local_addr().unwrap();

        let second = open(address).unwrap_err();

        assert_eq!(second.to_string(), format!("tcp {address} is in use"));
    }

    #[test]
    fn both_families_stand_side_by_side_on_one_port() {
        let Some(v6) = open("[::]:0".parse().unwrap()).unwrap() else { return };
        let port = v6.local_addr().unwrap().port();
        assert!(open(SocketAddr::from(([0, 0, 0, 0], port))).unwrap().is_some());
    }

    #[test]
    fn an_address_of_another_machine_is_an_error() {
        let failure = open("192.0.2.1:80".parse().unwrap()).unwrap_err();
        assert!(failure.to_string().starts_with("tcp 192.0.2.1:80 cannot be opened: "));
    }
}
