//! A hub on 127.0.0.1 that answers as the Hugging Face hub does, for one repository.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The repository `owner/name` and how it is served; what cannot be changed while a test runs.
#[derive(Default, Clone)]
pub struct Repository {
    pub files: BTreeMap<&'static str, Vec<u8>>,
    /// The only token that opens it.
    pub token: Option<&'static str>,
    pub ranges: Ranges,
    /// Whether the storage of large files lets nobody in.
    pub storage_is_closed: bool,
}

/// What becomes of a request for the end of a file.
#[derive(Default, Clone, Copy, PartialEq)]
pub enum Ranges {
    #[default]
    Served,
    /// The whole file comes.
    Ignored,
    Refused,
}

impl Repository {
    pub fn new(files: &[(&'static str, &[u8])]) -> Repository {
        Repository {
            files: files.iter().map(|(name, bytes)| (*name, bytes.to_vec())).collect(),
            ..Default::default()
        }
    }
}

pub struct Server {
    pub endpoint: String,
    state: Arc<State>,
}

struct State {
    repository: Repository,
    /// `METHOD PATH RANGE` of every request.
    requests: Mutex<Vec<String>>,
    /// A file, and after how many bytes of it the server hangs up, once.
    cut: Mutex<Option<(&'static str, usize)>>,
}

impl Server {
    pub fn start(repository: Repository) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State { repository, requests: Mutex::default(), cut: Mutex::default() };
        let state = Arc::new(state);
        let serving = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                serving.answer(stream.unwrap(), port);
            }
        });
        Server { endpoint: format!("http://127.0.0.1:{port}"), state }
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.requests.lock().unwrap())
    }

    /// Hangs up once, after `bytes` bytes of `file`.
    pub fn cut(&self, file: &'static str, bytes: usize) {
        *self.state.cut.lock().unwrap() = Some((file, bytes));
    }
}

/// Gives the same answer to every request; what stands there is not a hub. Gives its address.
pub fn start_stranger(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map(Result::unwrap) {
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let _request: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            (&stream).write_all(answer.as_bytes()).unwrap();
        }
    });
    format!("http://{address}")
}

impl State {
    fn answer(&self, mut stream: TcpStream, port: u16) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut lines = reader.by_ref().lines().map_while(Result::ok);
        let Some(request) = lines.next() else { return };
        let headers: BTreeMap<String, String> = lines
            .take_while(|line| !line.is_empty())
            .filter_map(|line| {
                line.split_once(": ").map(|(key, value)| (key.to_lowercase(), value.to_owned()))
            })
            .collect();
        let mut posted = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
        reader.read_exact(&mut posted).unwrap();
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let range = headers.get("range").map(String::as_str);
        assert!(!headers.contains_key("accept-encoding"), "compressed answers have no ranges");
        let line = format!("{method} {path} {}", range.unwrap_or_default());
        self.requests.lock().unwrap().push(line.trim_end().to_owned());

        let token = headers.get("authorization").map(String::as_str);
        let (mut head, body) = self.route(path, range, token, &posted, port);
        head += &format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).unwrap();
        if method != "HEAD" {
            let cut = self.cut.lock().unwrap().take_if(|(file, _)| path.ends_with(*file) && !body.is_empty());
            // Who asked for the end of a file and gets all of it may hang up.
            let _ = stream.write_all(&body[..cut.map_or(body.len(), |(_, end)| end)]);
        }
    }

    /// The head of the answer, without its last lines, and the body.
    fn route(
        &self,
        path: &str,
        range: Option<&str>,
        token: Option<&str>,
        posted: &[u8],
        port: u16,
    ) -> (String, Vec<u8>) {
        assert!(!path.contains("xet"), "no other protocol is asked for");
        if let Some(file) = path.strip_prefix("/cdn/") {
            assert_eq!(token, None, "the token is for the hub alone");
            return match self.repository.storage_is_closed {
                true => ("HTTP/1.1 403 Refused\r\n".to_owned(), Vec::new()),
                false => self.bytes(file, range, ""),
            };
        }
        assert!(token.is_none() || self.repository.token.is_some(), "a token that nobody gave");
        if self.repository.token.is_some_and(|wanted| token != Some(&format!("Bearer {wanted}"))) {
            return refusal(401, "RepoNotFound");
        }
        // Small files come from a path of the hub itself, as they do from huggingface.co.
        if let Some(file) = path.strip_prefix("/api/resolve-cache/") {
            return self.bytes(
                file,
                range,
                &format!("x-repo-commit: {COMMIT}\r\netag: W/\"tag-{file}\"\r\n"),
            );
        }
        let known = |revision| ["main", "refs%2Fpr%2F3", COMMIT].contains(&revision);
        if let Some(rest) = path.strip_prefix("/api/models/owner/name/") {
            let (what, revision) = rest.split_once('/').unwrap();
            let revision = revision.strip_suffix("?expand=sha").unwrap_or(revision);
            return match what {
                _ if !known(revision) => refusal(404, "RevisionNotFound"),
                "revision" => json(&json!({"_id": "1", "id": "owner/name", "sha": COMMIT})),
                "paths-info" => self.paths_info(posted),
                _ => refusal(404, "EntryNotFound"),
            };
        }
        let Some(rest) = path.strip_prefix("/owner/name/resolve/") else {
            return refusal(404, "RepoNotFound");
        };
        let (revision, file) = rest.split_once('/').unwrap();
        if !known(revision) {
            return refusal(404, "RevisionNotFound");
        }
        let Some(bytes) = self.repository.files.get(file) else {
            return refusal(404, "EntryNotFound");
        };
        // Large files come from another host, named differently here.
        if is_large(file) {
            let linked = format!("x-linked-size: {}\r\nx-linked-etag: \"sha-{file}\"\r\n", bytes.len());
            let commit = format!("x-repo-commit: {COMMIT}\r\netag: \"of-the-redirect\"\r\nx-xet-hash: 0\r\n");
            (
                format!(
                    "HTTP/1.1 302 Found\r\nlocation: http://localhost:{port}/cdn/{file}\r\n{commit}{linked}"
                ),
                Vec::new(),
            )
        } else {
            (format!("HTTP/1.1 307 Moved\r\nlocation: /api/resolve-cache/{file}\r\n"), Vec::new())
        }
    }

    /// What the repository has of the paths that are asked for.
    fn paths_info(&self, posted: &[u8]) -> (String, Vec<u8>) {
        let posted: Value = serde_json::from_slice(posted).unwrap();
        let paths = posted["paths"].as_array().unwrap().iter().map(|path| path.as_str().unwrap());
        let entries = paths.filter_map(|path| {
            let size = self.repository.files.get(path)?.len();
            let mut entry = json!({"type": "file", "path": path, "size": size, "oid": format!("git-{path}")});
            if is_large(path) {
                entry["lfs"] = json!({"oid": "not read", "size": size, "pointerSize": 130});
            }
            Some(entry)
        });
        json(&entries.collect())
    }

    fn bytes(&self, file: &str, range: Option<&str>, headers: &str) -> (String, Vec<u8>) {
        let bytes = &self.repository.files[file];
        if range.is_some() && self.repository.ranges == Ranges::Refused {
            return ("HTTP/1.1 416 Refused\r\n".to_owned(), Vec::new());
        }
        let start = range.filter(|_| self.repository.ranges == Ranges::Served).map(|range| {
            let (start, end) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            assert_eq!(end.parse(), Ok(bytes.len() - 1));
            start.parse::<usize>().unwrap()
        });
        match start {
            None => (format!("HTTP/1.1 200 OK\r\n{headers}"), bytes.clone()),
            Some(start) => {
                let range = format!("content-range: bytes {start}-{}/{}\r\n", bytes.len() - 1, bytes.len());
                (format!("HTTP/1.1 206 Partial\r\n{range}{headers}"), bytes[start..].to_vec())
            }
        }
    }
}

/// Whether the hub keeps a file outside of git.
fn is_large(file: &str) -> bool {
    file.ends_with(".safetensors")
}

fn json(value: &Value) -> (String, Vec<u8>) {
    ("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n".to_owned(), value.to_string().into_bytes())
}

fn refusal(status: u16, code: &str) -> (String, Vec<u8>) {
    (format!("HTTP/1.1 {status} Refused\r\nx-error-code: {code}\r\n"), b"no".to_vec())
}
