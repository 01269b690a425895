//! How ranks that were started one by one find each other.
//!
//! Whoever connects says hello, its rank and the number of ranks; rank 0 answers with a message, empty once all are there.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use super::peer::Peer;
use crate::{Error, Result};

/// Between two looks for another rank.
const PAUSE: Duration = Duration::from_millis(20);
/// What a rank says at once; who says nothing is none.
const PATIENCE_FOR_HELLO: Duration = Duration::from_secs(5);
const HELLO: [u8; 8] = *b"polytask";

fn failed(message: String) -> Error {
    Error::Communication(message)
}

/// Rank 0 waits for all others.
pub(super) fn accept(size: usize, address: &str, patience: Duration) -> Result<Vec<Peer>> {
    let unheard = |error: io::Error| {
        failed(format!(
            "rank 0 cannot listen on {address}: {error}; name one of its own addresses and a free port"
        ))
    };
    let listener = TcpListener::bind(address).map_err(unheard)?;
    listener.set_nonblocking(true).map_err(unheard)?;
    let deadline = Instant::now() + patience;
    let mut peers: Vec<Option<Peer>> = (1..size).map(|_| None).collect();
    while peers.iter().any(Option::is_none) {
        match listener.accept() {
            Ok((stream, _)) => admit(stream, &mut peers)?,
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                thread::sleep(PAUSE);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(missing(&peers, address, patience));
            }
            Err(error) => return Err(unheard(error)),
        }
    }
    let peers: Vec<Peer> = peers.into_iter().flatten().collect();
    peers.iter().try_for_each(|peer| peer.send(&[]))?;
    Ok(peers)
}

/// Gives a rank its place. What is no rank is let go; a rank that does not fit ends the start of all.
fn admit(stream: TcpStream, peers: &mut [Option<Peer>]) -> Result<()> {
    let Ok((rank, size)) = hear(&stream) else { return Ok(()) };
    let expected = peers.len() + 1;
    let reason = match peers.get(rank.wrapping_sub(1)) {
        _ if size != expected => {
            format!(
                "rank {rank} was started as one of {size}, rank 0 as one of {expected}: start all with one number of ranks"
            )
        }
        None => format!("a rank {rank} came to rank 0 of {expected}: each needs a number of its own, from 0"),
        Some(Some(_)) => {
            format!("two processes were started as rank {rank} of {size}: each needs a number of its own")
        }
        Some(None) => {
            // One that is gone already is missed when the others are there.
            peers[rank - 1] = Peer::new(rank, stream).ok();
            return Ok(());
        }
    };
    let newcomer = Peer::new(rank, stream).ok();
    peers.iter().flatten().chain(&newcomer).for_each(|peer| peer.refuse(&reason));
    Err(failed(reason))
}

/// Which rank it is, and of how many.
fn hear(mut stream: &TcpStream) -> io::Result<(usize, usize)> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE_FOR_HELLO))?;
    let mut hello = [0; 24];
    stream.read_exact(&mut hello)?;
    match hello.as_chunks::<8>().0 {
        [HELLO, rank, size] => Ok((u64::from_le_bytes(*rank) as usize, u64::from_le_bytes(*size) as usize)),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

fn missing(peers: &[Option<Peer>], address: &str, patience: Duration) -> Error {
    let ranks = peers.iter().zip(1..).filter(|(peer, _)| peer.is_none());
    let ranks = ranks.map(|(_, rank): (_, usize)| rank.to_string()).collect::<Vec<_>>().join(", ");
    let reason = format!(
        "rank 0 waited on {address} for {} seconds, and of {} ranks these did not come: {ranks}",
        patience.as_secs_f32(),
        peers.len() + 1,
    );
    peers.iter().flatten().for_each(|peer| peer.refuse(&reason));
    failed(reason)
}

/// Another rank looks for rank 0 until it is there, and waits until all are.
pub(super) fn join(rank: usize, size: usize, address: &str, patience: Duration) -> Result<Peer> {
    let deadline = Instant::now() + patience;
    let stream = loop {
        match reach(address, deadline.saturating_duration_since(Instant::now()).max(PAUSE)) {
            Ok(stream) => break stream,
            Err(_) if Instant::now() < deadline => thread::sleep(PAUSE),
            Err(error) => {
                return Err(failed(format!(
                    "rank {rank} found no rank 0 of {size} on {address} within {} seconds: {error}",
                    patience.as_secs_f32()
                )));
            }
        }
    };
    let lost = |error: io::Error| failed(format!("rank 0 on {address} was lost: {error}"));
    let hello = [HELLO, (rank as u64).to_le_bytes(), (size as u64).to_le_bytes()];
    (&stream).write_all(hello.as_flattened()).map_err(lost)?;
    let first = Peer::new(0, stream).map_err(lost)?;
    match first.receive()?.as_slice() {
        [] => Ok(first),
        _ => Err(failed(format!("what listens on {address} is no rank 0 of this program"))),
    }
}

fn reach(address: &str, patience: Duration) -> io::Result<TcpStream> {
    let mut last = ErrorKind::AddrNotAvailable.into();
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, patience) {
            // Of this machine's own ports the system may take the one that nobody listens on yet.
            Ok(stream) if stream.local_addr()? == address => last = ErrorKind::ConnectionRefused.into(),
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
