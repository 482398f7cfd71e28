//! One end of a stream of sound, without a phone around it: plays a tone, and says what it hears.
//!
//! RFC 3550, with G.711 µ-law as payload type 0 (RFC 3551). Where its peer is it is told, or learns
//! from the packets that come.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome};
use crate::tone::{self, Heard};
use crate::ulaw;
use crate::wait::{self, SOON};
use crate::wav::Sound;

const RATE: u32 = 8_000;
const PACKET: usize = 160;
const PACKET_EVERY: Duration = Duration::from_millis(20);
const HEADER: usize = 12;
/// So much is remembered of what was heard.
const REMEMBERED: usize = RATE as usize * 2;

/// An open end. Dropping it closes it.
#[derive(Debug)]
pub struct Ear {
    packets: Receiver<Vec<i16>>,
    heard: VecDeque<i16>,
    last_at: Option<Instant>,
    orders: Option<Sender<SocketAddr>>,
    thread: Option<JoinHandle<()>>,
}

impl Ear {
    /// Opens a port on 127.0.0.1, where it plays this tone to whoever sends first.
    ///
    /// # Errors
    /// If the port is taken.
    pub fn open(port: u16, hz: f64) -> Outcome<Self> {
        Self::open_at(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), hz)
    }

    /// The same at any address.
    ///
    /// # Errors
    /// If it is taken.
    pub fn open_at(address: SocketAddr, hz: f64) -> Outcome<Self> {
        let socket = UdpSocket::bind(address)?;
        socket.set_read_timeout(Some(Duration::from_millis(2)))?;
        let (to_us, packets) = channel();
        let (orders, ordered) = channel();
        let thread = std::thread::spawn(move || serve(&socket, hz, &to_us, &ordered));
        let (heard, last_at) = (VecDeque::new(), None);
        Ok(Self { packets, heard, last_at, orders: Some(orders), thread: Some(thread) })
    }

    /// Begins to play to this address, instead of waiting for its first packet.
    ///
    /// # Errors
    /// If the ear is closed.
    pub fn play_to(&self, peer: SocketAddr) -> Outcome {
        let orders = self.orders.as_ref();
        orders.ok_or_else(|| Failure::new("the ear is closed"))?.send(peer)?;
        Ok(())
    }

    /// Waits until this tone, and hardly anything else, is heard for half a second on end.
    ///
    /// # Errors
    /// If it is not heard in time.
    pub fn wait_for_tone(&mut self, hz: f64) -> Outcome {
        self.heard.clear();
        wait::until(&format!("a tone of {hz} Hz"), SOON, || {
            self.listen();
            let before = self.heard.len().saturating_sub(RATE as usize / 2);
            let latest = self.heard.iter().skip(before).copied();
            let sound = Sound { rate: RATE, samples: latest.collect() };
            let is_tone = tone::windows(&sound, hz).all(|heard| heard == Heard::Tone);
            Ok((sound.seconds() >= 0.5 && is_tone).then_some(()))
        })
    }

    /// Waits until no packet has come for so long.
    ///
    /// # Errors
    /// If they do not stop in time.
    pub fn wait_for_silence(&mut self, of: Duration) -> Outcome {
        let began_at = Instant::now();
        wait::until("the end of sound", SOON, || {
            self.listen();
            let since = self.last_at.map_or(began_at, |last_at| last_at.max(began_at));
            Ok((since.elapsed() >= of).then_some(()))
        })
    }

    fn listen(&mut self) {
        for samples in self.packets.try_iter() {
            self.heard.extend(samples);
            self.last_at = Some(Instant::now());
        }
        let forgotten = self.heard.len().saturating_sub(REMEMBERED);
        self.heard.drain(..forgotten);
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed already.
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, hz: f64, to_us: &Sender<Vec<i16>>, ordered: &Receiver<SocketAddr>) {
    let sound = tone::sine(RATE, hz, RATE as usize);
    let mut packets = sound.samples.chunks_exact(PACKET).cycle();
    let mut peer: Option<SocketAddr> = None;
    let mut number = 0_u16;
    let mut next_at = Instant::now();
    let mut bytes = [0; 2_048];
    loop {
        match ordered.try_recv() {
            Ok(told) => peer = Some(told),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return,
        }
        match socket.recv_from(&mut bytes) {
            Ok((length, from)) => {
                peer = Some(from);
                let payload = bytes.get(HEADER..length).unwrap_or_default();
                // Nobody listens any more: then the end is near anyway.
                let _ = to_us.send(payload.iter().copied().map(ulaw::decode).collect());
            }
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
            // A peer that is gone makes the system say so; it may come back.
            Err(_) => {}
        }
        if Instant::now() >= next_at {
            next_at += PACKET_EVERY;
            if let (Some(peer), Some(samples)) = (peer, packets.next()) {
                number = number.wrapping_add(1);
                let _ = socket.send_to(&packet(number, samples), peer);
            }
        }
    }
}

fn packet(number: u16, samples: &[i16]) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(number.to_be_bytes());
    packet.extend((u32::from(number) * PACKET as u32).to_be_bytes());
    packet.extend(0x0ea5_0ea5_u32.to_be_bytes());
    packet.extend(samples.iter().copied().map(ulaw::encode));
    packet
}
