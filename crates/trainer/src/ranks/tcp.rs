//! Ranks that speak TCP: each with rank 0, which hands on what all of them gave.
//!
//! ```text
//! rank 1 ─▶           ─▶ rank 1
//! rank 2 ─▶  rank 0   ─▶ rank 2        gather: what all gave      sum: the sums alone
//! ```
//!
//! Nothing is encrypted, and whoever reaches the port may join: it is made for one machine, or a network of one's own.

mod peer;
mod start;

use std::thread;
use std::time::Duration;

use super::{Communicator, add};
use crate::{Error, Result};

use peer::Peer;

/// How long ranks that start wait for one another.
const PATIENCE_AT_START: Duration = Duration::from_secs(60);

/// A rank that speaks TCP.
#[derive(Debug)]
pub struct Tcp {
    rank: usize,
    /// Of rank 0 all others, in their order; of these rank 0 alone.
    peers: Vec<Peer>,
    size: usize,
}

impl Tcp {
    /// One of `size` ranks, which meet at `address`, such as `localhost:29500`: rank 0 listens there, and the others look for
    /// it for a minute.
    ///
    /// # Errors
    /// Rank 0 cannot listen, a rank does not come, or one comes that does not fit: a second of the same number, or one that
    /// knows of another number of ranks.
    pub fn connect(rank: usize, size: usize, address: &str) -> Result<Self> {
        Self::connect_within(PATIENCE_AT_START, rank, size, address)
    }

    fn connect_within(patience: Duration, rank: usize, size: usize, address: &str) -> Result<Self> {
        if rank >= size {
            return Err(Error::Communication(format!(
                "there is no rank {rank} of {size}: they count from 0"
            )));
        }
        let peers = match rank {
            0 => start::accept(size, address, patience)?,
            _ => vec![start::join(rank, size, address, patience)?],
        };
        Ok(Self { rank, peers, size })
    }

    /// Of rank 0: ends what the others wait for where it fails here, which tells them why.
    fn told<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| {
            let reason = match error {
                Error::Communication(reason) => reason.clone(),
                error => error.to_string(),
            };
            self.peers.iter().for_each(|peer| peer.refuse(&reason));
        })
    }

    fn gather_and_hand_on(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut all = vec![own.to_vec()];
        for peer in &self.peers {
            all.push(peer.receive()?);
        }
        for peer in &self.peers {
            all.iter().try_for_each(|given| peer.send(given))?;
        }
        Ok(all)
    }

    fn sum_and_hand_on(&self, values: &mut [f32]) -> Result<()> {
        let mut terms = vec![0.0; values.len()];
        for peer in &self.peers {
            peer.receive_into(bytemuck::cast_slice_mut(&mut terms))?;
            add(values, &terms);
        }
        self.peers.iter().try_for_each(|peer| peer.send(bytemuck::cast_slice(values)))
    }
}

impl Communicator for Tcp {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        match self.peers.as_slice() {
            [first] if self.rank > 0 => {
                first.send(own)?;
                (0..self.size).map(|_| first.receive()).collect()
            }
            _ => self.told(self.gather_and_hand_on(own)),
        }
    }

    /// Rank 0 adds in the order of the ranks, and gives each the sums.
    fn sum(&self, values: &mut [f32]) -> Result<()> {
        match self.peers.as_slice() {
            [first] if self.rank > 0 => {
                first.send(bytemuck::cast_slice(values))?;
                first.receive_into(bytemuck::cast_slice_mut(values))
            }
            _ => self.told(self.sum_and_hand_on(values)),
        }
    }

    fn abort(&self) {
        self.peers.iter().for_each(Peer::close);
    }
}

impl Drop for Tcp {
    /// The others need not wait for what a panic has ended.
    fn drop(&mut self) {
        if thread::panicking() {
            self.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn free_address() -> String {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
    }

    /// What each of some threads makes, each started as one rank of so many.
    fn started<T: Send>(ranks: &[(usize, usize)], run: impl Fn(Result<Tcp>) -> T + Sync) -> Vec<T> {
        let (address, run) = (free_address(), &run);
        let start = |&(rank, size)| {
            let address = address.clone();
            move || run(Tcp::connect_within(Duration::from_secs(5), rank, size, &address))
        };
        thread::scope(|scope| {
            let threads: Vec<_> = ranks.iter().map(|rank| scope.spawn(start(rank))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    const THREE: [(usize, usize); 3] = [(2, 3), (0, 3), (1, 3)];

    /// Messages of several lengths, longer than what the system keeps for a connection.
    #[test]
    fn all_ranks_get_what_each_gave_and_the_same_sums() {
        let said = started(&THREE, |rank| {
            let rank = rank.unwrap();
            let own = vec![rank.rank() as u8; rank.rank() * 10_000_000];
            let all = rank.gather(&own).unwrap();
            // In any other order the sum is another: 1e8 + 1 = 1e8 in f32.
            let mut values = vec![[1e8, -1e8, 1.0][rank.rank()]; 3_000_000];
            rank.sum(&mut values).unwrap();
            (all, values, rank.gather(b"").unwrap())
        });
        for (all, values, nothing) in said {
            for (rank, given) in all.iter().enumerate() {
                assert!(given.len() == rank * 10_000_000 && given.iter().all(|&byte| byte as usize == rank));
            }
            assert!(values.iter().all(|&value| value == 1.0));
            assert_eq!(nothing, [b"", b"", b""]);
        }
    }

    #[track_caller]
    fn assert_refused(ranks: &[(usize, usize)], parts: &[&str]) {
        for error in started(ranks, |rank| rank.map(|_| ()).unwrap_err().to_string()) {
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }

    #[test]
    fn ranks_that_do_not_fit_are_refused() {
        assert_refused(&[(0, 2), (1, 3)], &["rank 1 was started as one of 3, rank 0 as one of 2"]);
        let no_such = Tcp::connect(2, 2, "127.0.0.1:1").unwrap_err().to_string();
        assert!(no_such.contains("there is no rank 2 of 2"), "{no_such}");
        assert_refused(&[(0, 3), (1, 3), (1, 3)], &["two processes were started as rank 1 of 3"]);
    }

    #[test]
    fn ranks_that_do_not_come_are_named() {
        let error =
            |rank| Tcp::connect_within(Duration::from_millis(100), rank, 3, &free_address()).unwrap_err();
        let expected = "of 3 ranks these did not come: 1, 2";
        assert!(error(0).to_string().contains(expected), "{}", error(0));
        assert!(error(1).to_string().contains("rank 1 found no rank 0 of 3 on 127.0.0.1:"), "{}", error(1));
    }

    #[test]
    fn whoever_is_no_rank_is_let_go() {
        let address = free_address();
        let join =
            |rank| Tcp::connect_within(Duration::from_secs(5), rank, 2, &address).map(|tcp| tcp.rank());
        thread::scope(|scope| {
            let first = scope.spawn(|| join(0));
            let mut stranger = loop {
                match TcpStream::connect(&address) {
                    Ok(stream) => break stream,
                    Err(_) => thread::sleep(Duration::from_millis(5)),
                }
            };
            stranger.write_all(b"GET / HTTP/1.1\r\n\r\n GET / HTTP/1.1\r\n\r\n").unwrap();
            assert_eq!((join(1).unwrap(), first.join().unwrap().unwrap()), (1, 0));
        });
    }

    /// While the others wait for it in a sum, or have just given more than it will ever read.
    #[test]
    fn a_rank_that_is_lost_is_named_to_all_others() {
        for lost in 0..3 {
            for aborts in [false, true] {
                let errors = started(&THREE, |rank| {
                    let rank = rank.unwrap();
                    rank.gather(b"").unwrap();
                    if rank.rank() == lost {
                        if aborts {
                            rank.abort();
                        }
                        return None;
                    }
                    Some(rank.sum(&mut vec![1.0; 3_000_000]).unwrap_err().to_string())
                });
                for error in errors.into_iter().flatten() {
                    assert!(error.contains(&format!("rank {lost} was lost: ")), "{error}");
                }
            }
        }
    }

    #[test]
    fn a_sum_of_other_lengths_is_an_error_on_all_ranks() {
        let errors = started(&[(0, 2), (1, 2)], |rank| {
            let rank = rank.unwrap();
            rank.sum(&mut vec![0.0; 3 + rank.rank()]).unwrap_err().to_string()
        });
        assert!(
            errors.iter().all(|error| error.contains("rank 1 gave 16 bytes to a sum of 12")),
            "{errors:?}"
        );
    }
}
