//! A relay that asks nothing: what comes to one port leaves from another, for a bench that wants to know
//! what packets cost without us.
//!
//! The same ways in and out as for calls, with no streams, rights, measures or clocks between them.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::io::{Io, Wire};
use crate::session::{Port, Slot};
use crate::socket::Pair;

/// Threads that relay until this is dropped.
pub struct Bare {
    stop: Arc<AtomicBool>,
    bell: Arc<EventFd>,
    threads: Vec<JoinHandle<()>>,
}

impl Bare {
    /// Starts so many threads. Says where each phone sends; what one sends goes to the next, and back.
    pub fn start(
        io: Io,
        threads: usize,
        phones: &[SocketAddr],
    ) -> io::Result<(Self, Vec<SocketAddr>)> {
        let bell = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut bare = Self { stop, bell: Arc::new(bell), threads: Vec::new() };
        let mut targets = Vec::new();
        let calls = phones.len() / 2;
        // Calls lie next to each other, so each thread has whole ones.
        for (number, share) in phones.chunks(calls.div_ceil(threads.max(1)).max(1) * 2).enumerate()
        {
            let (told, opened) = channel();
            let (stop, bell, share) =
                (Arc::clone(&bare.stop), Arc::clone(&bare.bell), share.to_vec());
            let thread = thread::Builder::new().name(format!("media-{number}"));
            bare.threads.push(thread.spawn(move || {
                if let Err(error) = relay(io, &bell, &stop, &share, &told) {
                    tracing::error!(%error, "a bare relay ends");
                }
            })?);
            targets.extend(opened.recv().map_err(|_| io::Error::from(ErrorKind::Other))?);
        }
        Ok((bare, targets))
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            while !thread.is_finished() {
                let _ = self.bell.write(1);
                thread::yield_now();
            }
            let _ = thread.join();
        }
    }
}

fn relay(
    io: Io,
    bell: &Arc<EventFd>,
    stop: &AtomicBool,
    phones: &[SocketAddr],
    told: &Sender<Vec<SocketAddr>>,
) -> io::Result<()> {
    let (mut wire, _) = Wire::new(io, bell)?;
    let any = || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true).map(|()| socket)
    };
    let mut targets = Vec::new();
    for slot in 0..phones.len() {
        let pair = Pair::of(any()?, any()?)?;
        targets.push(pair.socket(Port::Sound).local_addr()?);
        wire.open(Slot::from_index(slot).ok_or(ErrorKind::InvalidInput)?, pair)?;
    }
    told.send(targets).map_err(|_| ErrorKind::BrokenPipe)?;
    while !stop.load(Ordering::Acquire) {
        wire.wait(None)?;
        wire.relay(|(slot, port), _, _| {
            let other = Slot::from_index(slot.index() ^ 1)?;
            phones.get(other.index()).map(|phone| ((other, port), *phone))
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_one_phone_sends_the_other_hears() {
        let phones = [(); 4].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let addresses = phones.each_ref().map(|phone| phone.local_addr().unwrap());
        let (bare, targets) = Bare::start(Io::Auto, 2, &addresses).unwrap();
        for (from, to) in [(0, 1), (1, 0), (2, 3), (3, 2)] {
            phones[from].send_to(&[from as u8], targets[from]).unwrap();
            phones[to].set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut heard = [0; 4];
            assert_eq!((phones[to].recv(&mut heard).unwrap(), heard[0]), (1, from as u8));
        }
        drop(bare);
    }
}
