//! A connection with another rank, and the messages on it.
//!
//! ```text
//! kind (1 byte)   length (8 bytes, little-endian)   content
//! ```

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::{Error, Result};

/// How long a rank may say nothing: the others wait while rank 0 measures and writes.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

const CONTENT: u8 = 0;
/// The content says why there will be no other.
const REFUSAL: u8 = 1;

#[derive(Debug)]
pub(super) struct Peer {
    rank: usize,
    stream: TcpStream,
}

impl Peer {
    pub(super) fn new(rank: usize, stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { rank, stream })
    }

    pub(super) fn send(&self, content: &[u8]) -> Result<()> {
        // A rank that no longer listens may have said why.
        self.write(CONTENT, content).map_err(|error| match self.header() {
            Err(refusal @ Error::Communication(_)) if !is_timeout(&error) => refusal,
            _ => self.lost(&error),
        })
    }

    pub(super) fn receive(&self) -> Result<Vec<u8>> {
        let length = self.header()?;
        self.content(length)
    }

    /// Receives as many bytes as there is place for.
    pub(super) fn receive_into(&self, place: &mut [u8]) -> Result<()> {
        let (length, expected, rank) = (self.header()?, place.len(), self.rank);
        if length != expected as u64 {
            let message = format!("rank {rank} gave {length} bytes to a sum of {expected}");
            return Err(Error::Communication(message));
        }
        (&self.stream).read_exact(place).map_err(|error| self.lost(&error))
    }

    /// Says why there will be no message, and closes the connection.
    pub(super) fn refuse(&self, reason: &str) {
        // Whoever is gone needs no reason.
        let _ = self.write(REFUSAL, reason.as_bytes());
        self.close();
    }

    /// Nobody waits for the other any more, on either side.
    pub(super) fn close(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn write(&self, kind: u8, content: &[u8]) -> io::Result<()> {
        let mut stream = &self.stream;
        let [a, b, c, d, e, f, g, h] = (content.len() as u64).to_le_bytes();
        stream.write_all(&[kind, a, b, c, d, e, f, g, h])?;
        stream.write_all(content)
    }

    /// The length of what comes.
    fn header(&self) -> Result<u64> {
        let mut header = [0; 9];
        (&self.stream).read_exact(&mut header).map_err(|error| self.lost(&error))?;
        let [kind, a, b, c, d, e, f, g, h] = header;
        let length = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        match kind {
            CONTENT => Ok(length),
            _ => Err(Error::Communication(String::from_utf8_lossy(&self.content(length)?).into_owned())),
        }
    }

    fn content(&self, length: u64) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        let read = (&self.stream).take(length).read_to_end(&mut content);
        match read {
            Ok(read) if read as u64 == length => Ok(content),
            Ok(_) => Err(self.lost(&ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(self.lost(&error)),
        }
    }

    fn lost(&self, error: &io::Error) -> Error {
        let reason = match error.kind() {
            ErrorKind::UnexpectedEof => "it closed the connection".to_string(),
            _ if is_timeout(error) => format!("it said nothing for {} minutes", PATIENCE.as_secs() / 60),
            _ => error.to_string(),
        };
        Error::Communication(format!("rank {} was lost: {reason}", self.rank))
    }
}

/// What reading and writing give up with, depending on the system.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
