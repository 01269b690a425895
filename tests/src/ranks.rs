//! Ranks that are threads of one process.

use std::net::TcpListener;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use polytask_trainer::{Communicator, Error, Result, Tcp};

/// A rank that speaks through channels. One whose thread has ended leaves the others with an error.
#[derive(Debug)]
pub struct Channels {
    rank: usize,
    to: Vec<Sender<Vec<u8>>>,
    from: Vec<Mutex<Receiver<Vec<u8>>>>,
    heard: Mutex<Vec<Vec<Vec<u8>>>>,
}

impl Channels {
    fn between(ranks: usize) -> Vec<Self> {
        let alone = |rank| Self { rank, to: Vec::new(), from: Vec::new(), heard: Mutex::default() };
        let mut all: Vec<Self> = (0..ranks).map(alone).collect();
        for (from, to) in (0..ranks).flat_map(|from| (0..ranks).map(move |to| (from, to))) {
            let (sender, receiver) = channel();
            all[from].to.push(sender);
            all[to].from.push(Mutex::new(receiver));
        }
        all
    }

    /// What was said so far: for each time what each rank gave.
    pub fn heard(&self) -> Vec<Vec<Vec<u8>>> {
        self.heard.lock().unwrap().clone()
    }
}

impl Communicator for Channels {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        let gone = |rank| Error::Communication(format!("rank {rank} is gone"));
        for (rank, to) in self.to.iter().enumerate() {
            to.send(own.to_vec()).map_err(|_| gone(rank))?;
        }
        let receive =
            |(rank, from): (usize, &Mutex<Receiver<_>>)| from.lock().unwrap().recv().map_err(|_| gone(rank));
        let all: Vec<Vec<u8>> = self.from.iter().enumerate().map(receive).collect::<Result<_>>()?;
        self.heard.lock().unwrap().push(all.clone());
        Ok(all)
    }

    fn abort(&self) {}
}

/// What each of some ranks makes, each in a thread with a thread pool of its own.
pub fn on_ranks<T: Send>(ranks: usize, run: impl Fn(Arc<Channels>) -> T + Sync) -> Vec<T> {
    in_threads(Channels::between(ranks), |rank| run(Arc::new(rank)))
}

/// The same of ranks that speak TCP.
pub fn on_tcp_ranks<T: Send>(ranks: usize, run: impl Fn(Arc<Tcp>) -> T + Sync) -> Vec<T> {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    in_threads(0..ranks, |rank| run(Arc::new(Tcp::connect(rank, ranks, &address).unwrap())))
}

fn in_threads<R: Send, T: Send>(ranks: impl IntoIterator<Item = R>, run: impl Fn(R) -> T + Sync) -> Vec<T> {
    let run_as = |rank: R| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        pool.install(|| run(rank))
    };
    thread::scope(|scope| {
        let started: Vec<_> = ranks.into_iter().map(|rank| scope.spawn(|| run_as(rank))).collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
