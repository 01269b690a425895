//! A hub on 127.0.0.1 that answers as the Hugging Face hub does, for one repository.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The repository `owner/name` and how it is served; what cannot be changed while a test runs.
#[derive(Default, Clone)]
pub struct Repository {
    pub files: BTreeMap<&'static str, Vec<u8>>,
    /// The only token that opens it.
    pub token: Option<&'static str>,
    /// Whether range requests get the whole file.
    pub ignores_ranges: bool,
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

impl State {
    fn answer(&self, mut stream: TcpStream, port: u16) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        let Some(request) = lines.next() else { return };
        let headers: BTreeMap<String, String> = lines
            .take_while(|line| !line.is_empty())
            .filter_map(|line| {
                line.split_once(": ").map(|(key, value)| (key.to_lowercase(), value.to_owned()))
            })
            .collect();
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let range = headers.get("range").map(String::as_str);
        assert!(!headers.contains_key("accept-encoding"), "compressed answers have no ranges");
        let line = format!("{method} {path} {}", range.unwrap_or_default());
        self.requests.lock().unwrap().push(line.trim_end().to_owned());

        let token = headers.get("authorization").map(String::as_str);
        let (mut head, body) = self.route(path, range, token, port);
        head += &format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).unwrap();
        if method == "GET" {
            let cut = self.cut.lock().unwrap().take_if(|(file, _)| path.ends_with(*file) && !body.is_empty());
            stream.write_all(&body[..cut.map_or(body.len(), |(_, end)| end)]).unwrap();
        }
    }

    /// The head of the answer, without its last lines, and the body.
    fn route(&self, path: &str, range: Option<&str>, token: Option<&str>, port: u16) -> (String, Vec<u8>) {
        if let Some(file) = path.strip_prefix("/cdn/") {
            assert_eq!(token, None, "the token is for the hub alone");
            return self.bytes(file, range, "");
        }
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
        let Some(rest) = path.strip_prefix("/owner/name/resolve/") else {
            return refusal(404, "RepoNotFound");
        };
        let (revision, file) = rest.split_once('/').unwrap();
        if !["main", "refs%2Fpr%2F3", COMMIT].contains(&revision) {
            return refusal(404, "RevisionNotFound");
        }
        let Some(bytes) = self.repository.files.get(file) else {
            return refusal(404, "EntryNotFound");
        };
        // Large files come from another host, named differently here.
        if file.ends_with(".safetensors") {
            let linked = format!("x-linked-size: {}\r\nx-linked-etag: \"sha-{file}\"\r\n", bytes.len());
            let commit = format!("x-repo-commit: {COMMIT}\r\netag: \"of-the-redirect\"\r\n");
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

    fn bytes(&self, file: &str, range: Option<&str>, headers: &str) -> (String, Vec<u8>) {
        let bytes = &self.repository.files[file];
        let start = range.filter(|_| !self.repository.ignores_ranges).map(|range| {
            range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse::<usize>().unwrap()
        });
        match start {
            None => (format!("HTTP/1.1 200 OK\r\n{headers}"), bytes.clone()),
            Some(start) if start >= bytes.len() => ("HTTP/1.1 416 Range\r\n".to_owned(), Vec::new()),
            Some(start) => {
                let range = format!("content-range: bytes {start}-{}/{}\r\n", bytes.len() - 1, bytes.len());
                (format!("HTTP/1.1 206 Partial\r\n{range}{headers}"), bytes[start..].to_vec())
            }
        }
    }
}

fn refusal(status: u16, code: &str) -> (String, Vec<u8>) {
    (format!("HTTP/1.1 {status} Refused\r\nx-error-code: {code}\r\n"), b"no".to_vec())
}
