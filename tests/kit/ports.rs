//! Free ports, such that tests that run at the same time never take each other's.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::failure::{Failure, Outcome};

/// Blocks lie below the ports that the system hands out by itself.
const FIRST: u16 = 10_000;
const BLOCKS: u16 = 86;
const SIZE: u16 = 256;

static TRIED: AtomicU32 = AtomicU32::new(0);

/// Blocks that one test may have: another where somebody else's ports lie in the first.
const MOST: usize = 4;

/// Ports of one test, free on 127.0.0.1 when they are handed out.
#[derive(Debug)]
pub struct Ports {
    /// Hold the first ports of blocks, which is what makes them ours.
    claims: Vec<TcpListener>,
    next: u16,
    end: u16,
}

impl Ports {
    /// Claims a block of ports.
    ///
    /// # Errors
    /// If all blocks are taken.
    pub fn claim() -> Outcome<Self> {
        let mut ports = Self { claims: vec![], next: 0, end: 0 };
        ports.claim_another()?;
        Ok(ports)
    }

    fn claim_another(&mut self) -> Outcome {
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        let start = process::id().wrapping_mul(31).wrapping_add(tried);
        for offset in 0..u32::from(BLOCKS) {
            let block = u16::try_from(start.wrapping_add(offset) % u32::from(BLOCKS))?;
            let first = FIRST + block * SIZE;
            if let Ok(claim) = TcpListener::bind((Ipv4Addr::LOCALHOST, first)) {
                self.claims.push(claim);
                (self.next, self.end) = (first + 1, first + SIZE);
                return Ok(());
            }
        }
        Err(Failure::new("no block of ports is free"))
    }

    /// A port that is free for datagrams and connections.
    ///
    /// # Errors
    /// If the test's blocks are used up.
    pub fn one(&mut self) -> Outcome<u16> {
        Ok(self.many(1)?.0)
    }

    /// The first and the last of `count` free ports in a row; the first is even, as RTP likes it.
    ///
    /// # Errors
    /// If the test's blocks are used up.
    pub fn many(&mut self, count: u16) -> Outcome<(u16, u16)> {
        loop {
            match self.many_here(count) {
                Some(found) => return Ok(found),
                None if self.claims.len() < MOST => self.claim_another()?,
                None => return Err(Failure::new("this test's blocks of ports are used up")),
            }
        }
    }

    fn many_here(&mut self, count: u16) -> Option<(u16, u16)> {
        while self.next + count < self.end {
            let first = self.next + self.next % 2;
            let last = first + count - 1;
            match (first..=last).find(|port| !is_free(*port)) {
                Some(taken) => self.next = taken + 1,
                None => {
                    self.next = last + 1;
                    return Some((first, last));
                }
            }
        }
        None
    }
}

fn is_free(port: u16) -> bool {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
        && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}
