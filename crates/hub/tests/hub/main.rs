//! Downloads from a hub on 127.0.0.1 into a cache of their own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail like the tests themselves")]
#![allow(unreachable_pub, missing_docs, reason = "the parts of a test are nobody's interface")]

mod server;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use polytask_hub::{Error, Hub, Progress, Result};
use server::{COMMIT, Ranges, Repository, Server, start_stranger};
use tempfile::TempDir;

/// Long enough to be cut in the middle, and different everywhere.
fn weights() -> Vec<u8> {
    (0..300_000_u32).flat_map(u32::to_le_bytes).collect()
}

/// Python's `hashlib.sha256(b"".join(n.to_bytes(4, "little") for n in range(300_000))).hexdigest()`.
const WEIGHTS_SHA256: &str = "552a438886f75fd5e70ff6ad0671698758af0a126388ab130f4eb85c0cf6c725";

fn small_model() -> Repository {
    let mut repository = Repository::new(&[
        ("config.json", b"{}"),
        ("tokenizer.json", b"{\"model\": {}}"),
        ("tokenizer_config.json", b"{\"do_lower_case\": true}"),
        ("README.md", b"not needed"),
    ]);
    repository.files.insert("model.safetensors", weights());
    repository
}

/// A hub with an empty cache.
fn start(repository: Repository) -> (Server, Hub, TempDir) {
    let (server, folder) = (Server::start(repository), tempfile::tempdir().unwrap());
    let cache = folder.path().join("hub");
    let hub = Hub { endpoint: server.endpoint.clone(), cache, token: None, offline: false };
    (server, hub, folder)
}

fn locate(hub: &Hub, path: &str) -> Result<PathBuf> {
    hub.locate(path, Path::new("."), &mut ())
}

fn message(hub: &Hub, path: &str) -> String {
    locate(hub, path).unwrap_err().to_string()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// One file of a download, as it was heard.
#[derive(Debug, PartialEq)]
struct Heard {
    file: String,
    size: u64,
    /// The bytes of each call.
    received: Vec<u64>,
    finished: bool,
}

#[derive(Default)]
struct Listener(Vec<Heard>);

impl Progress for Listener {
    fn started(&mut self, file: &str, size: u64) {
        self.0.push(Heard { file: file.to_owned(), size, received: Vec::new(), finished: false });
    }

    fn received(&mut self, bytes: u64) {
        self.0.last_mut().unwrap().received.push(bytes);
    }

    fn finished(&mut self) {
        self.0.last_mut().unwrap().finished = true;
    }
}

#[test]
fn a_model_is_downloaded_once() {
    let (server, hub, _folder) = start(small_model());
    let mut heard = Listener::default();
    let folder = hub.locate("hf:owner/name", Path::new("."), &mut heard).unwrap();
    assert_eq!(folder, hub.cache.join("models--owner--name/snapshots").join(COMMIT));
    assert_eq!(
        names(&folder),
        ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    );
    for (file, bytes) in small_model().files.iter().filter(|(file, _)| **file != "README.md") {
        assert!(fs::read(folder.join(file)).unwrap() == *bytes, "{file}");
    }
    assert!(heard.0.iter().all(|heard| heard.size == heard.received.iter().sum::<u64>() && heard.finished));
    assert_eq!(heard.0.last().unwrap().file, "model.safetensors");
    assert!(!server.requests().is_empty());

    let mut silent = Listener::default();
    assert_eq!(hub.locate("hf:owner/name", Path::new("."), &mut silent).unwrap(), folder);
    assert_eq!(locate(&hub, "hf:owner/name@main").unwrap(), folder);
    assert_eq!(locate(&hub, &format!("hf:owner/name@{COMMIT}")).unwrap(), folder);
    let offline = Hub { offline: true, endpoint: "http://127.0.0.1:9".to_owned(), ..hub };
    assert_eq!(locate(&offline, "hf:owner/name").unwrap(), folder);
    assert_eq!((server.requests(), silent.0.len()), (vec![], 0));
}

#[test]
fn the_cache_has_the_layout_that_all_libraries_share() {
    let (_server, hub, _folder) = start(small_model());
    let folder = locate(&hub, "hf:owner/name").unwrap();
    let repository = hub.cache.join("models--owner--name");
    assert_eq!(fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
    let blobs = [WEIGHTS_SHA256, "git-config.json", "git-tokenizer.json", "git-tokenizer_config.json"];
    assert_eq!(names(&repository.join("blobs")), blobs);
    #[cfg(unix)]
    assert_eq!(fs::read_link(folder.join("config.json")).unwrap(), Path::new("../../blobs/git-config.json"));

    // What another library left is used as it lies.
    fs::remove_file(repository.join("refs/main")).unwrap();
    let offline = Hub { offline: true, ..hub };
    assert_eq!(locate(&offline, &format!("hf:owner/name@{COMMIT}")).unwrap(), folder);
    assert!(matches!(locate(&offline, "hf:owner/name"), Err(Error::Offline { .. })));
}

#[test]
fn a_revision_is_asked_for_once_and_then_its_commit() {
    let (server, hub, _folder) = start(small_model());
    locate(&hub, "hf:owner/name@refs/pr/3").unwrap();
    let requests = server.requests();
    assert_eq!(requests[0], "GET /api/models/owner/name/revision/refs%2Fpr%2F3?expand=sha");
    assert_eq!(requests[1], format!("POST /api/models/owner/name/paths-info/{COMMIT}"));
    let resolved: Vec<_> = requests.iter().filter(|line| line.contains("/resolve/")).collect();
    assert!(resolved.len() >= 4 && resolved.iter().all(|line| line.contains(COMMIT)), "{requests:?}");
    locate(&hub, "hf:owner/name@refs/pr/3").unwrap();
    assert_eq!(server.requests(), [""; 0]);
}

#[test]
fn shards_come_with_their_index() {
    let index = br#"{"metadata": {}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}"#;
    let mut repository = Repository::new(&[
        ("config.json", b"{}"),
        ("vocab.txt", b"[PAD]\n"),
        ("model.safetensors.index.json", index),
        ("model-1.safetensors", b"one"),
        ("model-2.safetensors", b"two"),
    ]);
    let (server, hub, _folder) = start(repository.clone());
    let folder = locate(&hub, "hf:owner/name").unwrap();
    assert_eq!(fs::read(folder.join("model-2.safetensors")).unwrap(), b"two");
    assert!(folder.join("vocab.txt").is_file());
    server.requests();
    locate(&hub, "hf:owner/name").unwrap();
    assert_eq!(server.requests(), [""; 0]);

    // A shard that somebody deleted comes again, alone.
    fs::remove_file(folder.join("model-1.safetensors").canonicalize().unwrap()).unwrap();
    locate(&hub, "hf:owner/name").unwrap();
    assert_eq!(fs::read(folder.join("model-1.safetensors")).unwrap(), b"one");
    let bodies = server.requests().iter().filter(|line| line.starts_with("GET /owner")).count();
    assert_eq!(bodies, 1);

    repository.files.remove("model-1.safetensors");
    let (_server, hub, _folder) = start(repository);
    assert!(message(&hub, "hf:owner/name").contains("no model-1.safetensors in the repository"));
}

#[test]
fn a_cut_download_goes_on_where_it_ended() {
    for ranges in [Ranges::Served, Ranges::Ignored, Ranges::Refused] {
        let (server, hub, _folder) = start(Repository { ranges, ..small_model() });
        server.cut("model.safetensors", 500_000);
        let cut = message(&hub, "hf:owner/name");
        assert!(
            cut.contains("model.safetensors") && cut.contains("the download goes on from there"),
            "{cut}"
        );
        let snapshot = hub.cache.join("models--owner--name/snapshots").join(COMMIT);
        assert!(snapshot.join("tokenizer.json").is_file() && !snapshot.join("model.safetensors").exists());
        server.requests();

        let mut heard = Listener::default();
        let folder = hub.locate("hf:owner/name", Path::new("."), &mut heard).unwrap();
        assert!(fs::read(folder.join("model.safetensors")).unwrap() == weights());
        let start = if ranges == Ranges::Served { 500_000 } else { 0 };
        let [heard] = &heard.0[..] else { panic!("only the weights were missing") };
        assert_eq!((heard.size, heard.received[0]), (1_200_000, start));
        assert_eq!(heard.received.iter().sum::<u64>(), 1_200_000);
        let requests = server.requests();
        let bodies = requests.iter().filter(|line| line.starts_with("GET") && line.contains("safetensors"));
        let addresses = [format!("/owner/name/resolve/{COMMIT}"), "/cdn".to_owned()];
        let whole = addresses.map(|at| format!("GET {at}/model.safetensors"));
        let mut expected = whole.each_ref().map(|line| format!("{line} bytes=500000-1199999")).to_vec();
        if ranges != Ranges::Served {
            expected.extend(whole);
        }
        assert!(bodies.eq(&expected), "{requests:?}");
    }
}

#[test]
fn a_part_is_taken_as_it_is_where_it_is_whole_and_begun_again_where_it_is_too_long() {
    let (server, hub, _folder) = start(small_model());
    let blobs = hub.cache.join("models--owner--name/blobs");
    fs::create_dir_all(&blobs).unwrap();
    // Killed between the last byte and the new name; and more bytes than the file has.
    for (part, bodies) in [(weights(), vec![]), (vec![0; 2_000_000], vec!["GET /cdn/model.safetensors"])] {
        fs::write(blobs.join("git-model.safetensors.part"), part).unwrap();
        let folder = locate(&hub, "hf:owner/name").unwrap();
        assert!(fs::read(folder.join("model.safetensors")).unwrap() == weights());
        let requests = server.requests();
        assert!(requests.iter().filter(|line| line.starts_with("GET /cdn/")).eq(&bodies), "{requests:?}");
        fs::remove_file(blobs.join(WEIGHTS_SHA256)).unwrap();
    }
}

#[test]
fn two_at_once_download_a_file_once() {
    let (server, hub, _folder) = start(small_model());
    std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| locate(&hub, "hf:owner/name").unwrap()));
        for folder in both.map(|one| one.join().unwrap()) {
            assert!(fs::read(folder.join("model.safetensors")).unwrap() == weights());
        }
    });
    let bodies = server.requests().iter().filter(|line| line.starts_with("GET /cdn/")).count();
    assert_eq!(bodies, 1);
}

#[test]
fn what_cannot_be_had_is_named() {
    let (server, hub, _folder) = start(small_model());
    let nowhere = message(&hub, "hf:owner/other");
    assert!(nowhere.contains("hf:owner/other@main: the hub shows no such repository (HTTP 404"), "{nowhere}");
    assert!(nowhere.contains("HF_TOKEN"), "{nowhere}");
    let revision = message(&hub, "hf:owner/name@v2");
    assert!(revision.contains("hf:owner/name@v2: the repository has no such revision"), "{revision}");
    assert!(revision.contains(&format!("{}/owner/name", server.endpoint)), "{revision}");

    let (_server, hub, _folder) = start(Repository { storage_is_closed: true, ..small_model() });
    let storage = message(&hub, "hf:owner/name");
    assert!(storage.contains("/model.safetensors: the storage of the file answered HTTP 403"), "{storage}");
    assert!(!storage.contains("/cdn/"), "{storage}");
    let (_server, hub, _folder) = start(Repository::new(&[("README.md", b"")]));
    assert!(message(&hub, "hf:owner/name").contains("no config.json in the repository"));
    let (_server, hub, _folder) = start(Repository::new(&[("config.json", b"{}")]));
    assert!(message(&hub, "hf:owner/name").contains("no tokenizer.json or vocab.txt in the repository"));
}

#[test]
fn pickles_are_refused_with_the_way_to_safetensors() {
    let files: [(&str, &[u8]); 3] =
        [("config.json", b"{}"), ("vocab.txt", b"[PAD]\n"), ("pytorch_model.bin", b"\x80\x02")];
    let (server, hub, _folder) = start(Repository::new(&files));
    let message = message(&hub, "hf:owner/name");
    assert!(message.contains("only there as pytorch_model.bin"), "{message}");
    assert!(message.contains(r#"from_pretrained("owner/name", revision="main")"#), "{message}");
    assert!(message.contains("safe_serialization=True"), "{message}");
    assert!(!server.requests().iter().any(|line| line.starts_with("GET") && line.contains("pytorch_model")));
}

#[test]
fn a_token_opens_a_private_repository_and_goes_to_the_hub_alone() {
    let (_server, hub, _folder) = start(Repository { token: Some("hf_secret"), ..small_model() });
    let message = message(&hub, "hf:owner/name");
    assert!(message.contains("HTTP 401") && message.contains("set HF_TOKEN"), "{message}");
    let (token, wrong) = (Some("hf_secret".to_owned()), Some("hf_wrong".to_owned()));
    assert!(locate(&Hub { token: wrong, ..hub.clone() }, "hf:owner/name").is_err());
    // The server panics at a token where the weights are, which is another host.
    locate(&Hub { token, ..hub }, "hf:owner/name").unwrap();
}

/// The test itself has no token in its environment, so it calls another one that has.
#[test]
fn a_hub_without_a_token_does_not_look_for_one() {
    let another = Command::new(env::current_exe().unwrap())
        .args(["--exact", "a_model_is_downloaded_once"])
        .env("HF_TOKEN", "hf_of_the_environment")
        .output()
        .unwrap();
    assert!(another.status.success(), "{}", String::from_utf8_lossy(&another.stdout));
}

#[test]
fn what_is_no_hub_is_told_from_a_network_that_fails() {
    let (_server, hub, _folder) = start(small_model());
    let page = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>";
    for endpoint in [start_stranger(page), "ftp://127.0.0.1".to_owned()] {
        let stranger = message(&Hub { endpoint, ..hub.clone() }, "hf:owner/name");
        assert!(
            stranger.contains("check HF_ENDPOINT") && !stranger.contains("check the network"),
            "{stranger}"
        );
    }
    let nonsense = message(&Hub { endpoint: "nonsense".to_owned(), ..hub }, "hf:owner/name");
    assert!(
        nonsense.contains("no connection to the hub can be made: relative URL without a base"),
        "{nonsense}"
    );
}

#[test]
fn without_a_network_the_message_says_so() {
    let (_server, hub, _folder) = start(small_model());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let unreachable = Hub { endpoint: format!("http://{closed}"), ..hub.clone() };
    let message_of_unreachable = message(&unreachable, "hf:owner/name");
    assert!(message_of_unreachable.contains("check the network"), "{message_of_unreachable}");
    let offline = message(&Hub { offline: true, ..hub }, "hf:owner/name");
    assert!(offline.contains("HF_HUB_OFFLINE is set and config.json is not in the cache"), "{offline}");
}
