//! One link, from the handshake to its end.
//!
//! The caller proves itself first, so that whoever merely calls learns nothing, not even who we are.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use pbx::id::NodeId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::frame::{Frame, Hello, LONGEST, Unreadable, VERSION};
use super::proof::End;
use super::{Links, Means, PING_EVERY, SILENT_FOR};
use crate::metrics::Count;
use crate::net::tls::link::{Channel, Stream};

/// How long a peer may take to say who it is.
const GREET_WITHIN: Duration = Duration::from_secs(5);

/// A peer that takes nothing for so long does not read.
const WRITE_WITHIN: Duration = Duration::from_secs(2);

/// The longest frame of one who has proved nothing.
const LONGEST_PROOF: usize = 64;

/// The longest of one who has: its addresses and networks.
const LONGEST_HELLO: usize = 16 * 1024;

/// Frames written at once.
const BATCH: usize = 256;

const READ_AT_ONCE: usize = 64 * 1024;

/// Why a link ended, or never was.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// The connection broke.
    #[error("{0}")]
    Broken(#[from] io::Error),
    /// The peer closed it.
    #[error("it was closed")]
    Closed,
    /// Another connection has taken its place.
    #[error("it was replaced")]
    Replaced,
    /// The peer says nothing, or does not read.
    #[error("the peer is silent")]
    Silent,
    /// The peer says what cannot be read.
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
    /// The peer has not our cluster key.
    #[error("the peer has another cluster key")]
    Unproved,
    /// The peer is of another release.
    #[error("the peer's version is {0}, ours is {VERSION}")]
    OtherVersion(u16),
    /// The peer is not who should be there.
    #[error("node {0} was not expected there")]
    OtherNode(u16),
    /// The peer says something out of turn.
    #[error("the peer does not keep to the order")]
    OutOfTurn,
}

/// A connection whose peer has proved itself.
#[derive(Debug)]
pub(super) struct Greeted {
    hello: Hello,
    stream: Stream,
    read: BytesMut,
}

/// Encrypts and proves a connection; `callee` is who should answer it, if we have called.
pub(super) async fn greet(
    links: &Links,
    means: &Means,
    stream: TcpStream,
    callee: Option<NodeId>,
) -> Result<Greeted, Ended> {
    stream.set_nodelay(true)?;
    let greeting = async {
        let (stream, channel) = match callee {
            Some(_) => means.tls.connect(stream).await?,
            None => means.tls.accept(stream).await?,
        };
        introduce(links, means, stream, &channel, callee).await
    };
    timeout(GREET_WITHIN, greeting).await.map_err(|_| Ended::Silent)?
}

async fn introduce(
    links: &Links,
    means: &Means,
    mut stream: Stream,
    channel: &Channel,
    callee: Option<NodeId>,
) -> Result<Greeted, Ended> {
    let us = if callee.is_some() { End::Caller } else { End::Called };
    let mut read = BytesMut::new();
    let proof = Frame::Proof(means.key.prove(us, channel));
    if us == End::Caller {
        write(&mut stream, &proof).await?;
    }
    match next(&mut stream, &mut read, LONGEST_PROOF).await? {
        Frame::Proof(said) if means.key.is_proved(us.other(), channel, &said) => {}
        Frame::Proof(_) => return Err(Ended::Unproved),
        _ => return Err(Ended::OutOfTurn),
    }
    if us == End::Called {
        write(&mut stream, &proof).await?;
    }
    write(&mut stream, &Frame::Hello(links.hello())).await?;
    let Frame::Hello(hello) = next(&mut stream, &mut read, LONGEST_HELLO).await? else {
        return Err(Ended::OutOfTurn);
    };
    if hello.version != VERSION {
        return Err(Ended::OtherVersion(hello.version));
    }
    let (node, here) = (NodeId(hello.node), links.me.node);
    match callee {
        Some(callee) if callee == node => {}
        // Whoever has the lower number calls, so that there is one link a pair.
        None if node < here => {}
        Some(_) | None => return Err(Ended::OtherNode(hello.node)),
    }
    Ok(Greeted { hello, stream, read })
}

/// Serves a link until it ends.
pub(super) async fn serve(links: &Arc<Links>, greeted: Greeted) -> Ended {
    let Greeted { hello, stream, read } = greeted;
    let node = NodeId(hello.node);
    // Whoever ends it, the lanes hear of it.
    let (_up, queued, waiting) = links.open(&hello);
    let (reader, writer) = split(stream);
    tokio::select! {
        ended = hear(links, node, reader, read) => ended,
        ended = tell(links, writer, queued, &waiting) => ended,
    }
}

async fn hear(
    links: &Arc<Links>,
    node: NodeId,
    mut reader: ReadHalf<Stream>,
    mut read: BytesMut,
) -> Ended {
    loop {
        match take_all(links, node, &mut read).await {
            Ok(()) => {}
            Err(ended) => return ended,
        }
        read.reserve(READ_AT_ONCE);
        match timeout(SILENT_FOR, reader.read_buf(&mut read)).await {
            Ok(Ok(0)) => return Ended::Closed,
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return error.into(),
            Err(_) => return Ended::Silent,
        }
    }
}

/// Carries out all that was read.
async fn take_all(links: &Arc<Links>, node: NodeId, read: &mut BytesMut) -> Result<(), Ended> {
    let mut to_wake = vec![];
    let mut frames = 0;
    while let Some(frame) = Frame::read(read, LONGEST)? {
        frames += 1;
        match frame {
            Frame::Ping => {}
            Frame::Mail(letter) => {
                if let Some(answer) = links.reception.take_letter(letter, &mut to_wake) {
                    // With no room for it either, the phone asks again.
                    let _ = links.send(node, answer);
                }
            }
            Frame::Send { path, bytes } => {
                links.reception.put_out(path, bytes, &mut to_wake);
            }
            Frame::KeptOpen { tenant, peer } => {
                links.reception.tell_kept_open(tenant, peer, &mut to_wake);
            }
            Frame::Watch { tenant, seen } => links.reception.watch(tenant, node, seen),
            Frame::Show { tenant, changes } => links.reception.show(tenant, changes),
            Frame::Ask(question) => links.answer(node, question),
            Frame::Part { number, bytes } => links.errands.hear(node, number, bytes),
            Frame::FlowGone(flow) if flow.node == node => {
                links.reception.tell_gone(flow).await;
            }
            Frame::Hello(hello) if hello.node == node.0 => links.renew(node, hello),
            Frame::FlowGone(_) | Frame::Hello(_) | Frame::Proof(_) => {
                return Err(Ended::OutOfTurn);
            }
        }
    }
    links.tally().add(Count::LinkReceived, frames);
    links.reception.wake(to_wake);
    Ok(())
}

async fn tell(
    links: &Links,
    mut writer: WriteHalf<Stream>,
    mut queued: mpsc::Receiver<Frame>,
    waiting: &AtomicUsize,
) -> Ended {
    let (mut batch, mut bytes) = (vec![], BytesMut::new());
    loop {
        match timeout(PING_EVERY, queued.recv_many(&mut batch, BATCH)).await {
            Ok(0) => return Ended::Replaced,
            Ok(_) => {
                let taken = batch.iter().map(Frame::weight).sum();
                waiting.fetch_sub(taken, Ordering::Relaxed);
            }
            Err(_) => batch.push(Frame::Ping),
        }
        for frame in batch.drain(..) {
            if frame.write(&mut bytes).is_err() {
                links.tally().count(Count::LinkFull);
            }
        }
        let write = async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        };
        match timeout(WRITE_WITHIN, write).await {
            Ok(Ok(())) => bytes.clear(),
            Ok(Err(error)) => return error.into(),
            Err(_) => return Ended::Silent,
        }
    }
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> Result<(), Ended> {
    let mut bytes = BytesMut::new();
    frame.write(&mut bytes)?;
    stream.write_all(&bytes).await?;
    Ok(stream.flush().await?)
}

async fn next(
    stream: &mut (impl AsyncRead + Unpin),
    read: &mut BytesMut,
    longest: usize,
) -> Result<Frame, Ended> {
    loop {
        if let Some(frame) = Frame::read(read, longest)? {
            return Ok(frame);
        }
        if stream.read_buf(read).await? == 0 {
            return Err(Ended::Closed);
        }
    }
}
