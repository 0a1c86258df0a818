//! Against a server on this machine that answers as the Hub does.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use super::*;
use crate::source::{OnBadLine, hex, read};

const COMMIT: &str = "e53f048856ff4f594e959d75785d2c2d37b678ee";
const ROWS: &str =
    "{\"question\": \"How many?\", \"answer\": \"#### 4\"}\n{\"question\": \"How much?\", \"answer\": \"#### 5\"}\n";

/// What goes wrong.
#[derive(Clone, Copy, Default, PartialEq)]
enum Fault {
    #[default]
    None,
    /// The first answer with a file's content ends in its middle.
    CutOff,
    /// The content is not what its hash says.
    Damaged,
    /// No answer at all.
    Silent,
    /// Too busy.
    Busy,
}

/// A Hub with GSM8K: small files are sent at once, large ones from another address, as at the Hub. Notes what it was asked.
struct Server {
    endpoint: String,
    asked: Arc<Mutex<Vec<String>>>,
}

fn serve(fault: Fault) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    // It goes on until the tests' process ends.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let noted = Arc::clone(&noted);
            std::thread::spawn(move || answer(stream, fault, &noted));
        }
    });
    Server { endpoint, asked }
}

fn answer(mut stream: TcpStream, fault: Fault, asked: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut range = None;
    let mut token = false;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let lower = line.trim().to_lowercase();
        if let Some(bytes) = lower.strip_prefix("range: bytes=") {
            range = bytes.trim_end_matches('-').parse::<usize>().ok();
        }
        token |= lower == "authorization: bearer secret";
        if lower.is_empty() {
            break;
        }
    }
    let mut words = first.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let times = {
        let mut asked = asked.lock().unwrap();
        asked.push(format!("{method} {path}{}", range.map_or_else(String::new, |from| format!(" from {from}"))));
        asked.iter().filter(|line| line.starts_with(&format!("{method} {path}"))).count()
    };
    if fault == Fault::Silent {
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
    let send = |stream: &mut TcpStream, status: &str, head: &str, length: usize, body: &[u8]| {
        let text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{head}\r\n");
        stream.write_all(text.as_bytes()).ok()?;
        stream.write_all(if method == "HEAD" { b"" } else { body }).ok()
    };
    if fault == Fault::Busy {
        return send(&mut stream, "503 Service Unavailable", "", 0, b"");
    }
    let files = ["README.md", "main/train.jsonl", "main/test.jsonl", "socratic/train.jsonl", "../evil.jsonl"];
    if let Some(revision) = path.strip_prefix("/api/datasets/openai/gsm8k/revision/") {
        if ![COMMIT, "main", "refs%2Fconvert%2Fparquet"].contains(&revision) {
            return send(&mut stream, "404 Not Found", "X-Error-Code: RevisionNotFound\r\n", 0, b"");
        }
        let siblings: Vec<_> = files.iter().map(|file| serde_json::json!({ "rfilename": file })).collect();
        let body = serde_json::json!({ "id": "openai/gsm8k", "sha": COMMIT, "siblings": siblings }).to_string();
        return send(&mut stream, "200 OK", "", body.len(), body.as_bytes());
    }
    if let Some(file) = path.strip_prefix(&format!("/datasets/openai/gsm8k/resolve/{COMMIT}/")) {
        let head = format!("x-repo-commit: {COMMIT}\r\n");
        if file == "README.md" {
            let card = "---\nlanguage:\n- en\nlicense:\n- mit\nsize: small\n---\n# GSM8K\n";
            let head = format!("{head}etag: \"0123456789012345678901234567890123456789\"\r\n");
            return send(&mut stream, "200 OK", &head, card.len(), card.as_bytes());
        }
        let hash = hex(&Sha256::digest(ROWS.as_bytes()));
        let head =
            format!("{head}x-linked-etag: \"{hash}\"\r\nx-linked-size: {}\r\nLocation: /store/{file}\r\n", ROWS.len());
        // An address of its own, as the Hub's store has.
        let host = stream.local_addr().ok()?;
        let head = head.replace("Location: /", &format!("Location: http://{host}/"));
        return send(&mut stream, "302 Found", &head, 0, b"");
    }
    if path.starts_with("/store/") {
        let mut body = ROWS.as_bytes().to_vec();
        if fault == Fault::Damaged {
            body[3] ^= 1;
        }
        let rest = &body[range.unwrap_or(0)..];
        let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
        let sent = if fault == Fault::CutOff && times == 1 { &rest[..20] } else { rest };
        return send(&mut stream, status, "", rest.len(), sent);
    }
    if path.contains("private") && token {
        return send(&mut stream, "403 Forbidden", "x-error-message: Ask its owners.\r\n", 0, b"");
    }
    send(&mut stream, "401 Unauthorized", "", 0, b"")
}

fn hub(server: &Server, cache: &Path) -> Hub {
    Hub {
        endpoint: server.endpoint.clone(),
        cache: cache.to_owned(),
        token: None,
        offline: false,
        patience: Duration::from_secs(5),
    }
}

fn name(text: &str) -> HubName {
    HubName::recognise(Path::new(text)).unwrap().unwrap()
}

fn fetch(hub: &Hub, text: &str, purpose: Split) -> Result<HubFiles, DatasetError> {
    hub.fetch(&name(text), purpose, &|_, _, _| true)
}

#[test]
fn a_data_set_is_fetched_once_and_its_rows_name_the_commit() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(Fault::None);
    let hub = hub(&server, folder.path());
    let found = fetch(&hub, "openai/gsm8k", Split::Train).unwrap();
    assert_eq!(found.name.to_string(), format!("openai/gsm8k@{COMMIT}:main/train"));
    assert_eq!((found.licence.as_deref(), found.note.as_deref(), found.files.len()), (Some("mit"), None, 1));
    let tasks = read(&found.files[0], OnBadLine::Stop).unwrap().tasks;
    assert_eq!((tasks.len(), tasks[0].source.as_str()), (2, "openai/gsm8k"));
    assert_eq!(tasks[0].extra["hub_revision"], COMMIT);
    // Where the hf command would put it.
    let snapshot = folder.path().join("datasets--openai--gsm8k/snapshots").join(COMMIT);
    assert_eq!(found.files[0], snapshot.join("main/train.jsonl"));
    assert!(found.files[0].symlink_metadata().unwrap().is_symlink());
    assert_eq!(std::fs::read_to_string(folder.path().join("datasets--openai--gsm8k/refs/main")).unwrap(), COMMIT);

    let asked = |server: &Server| server.asked.lock().unwrap().len();
    let before = asked(&server);
    // Again: the branch is asked for, the files are there.
    assert_eq!(fetch(&hub, "openai/gsm8k", Split::Train).unwrap(), found);
    assert_eq!(asked(&server), before + 1);
    // By its commit and part: nothing is asked.
    assert_eq!(fetch(&hub, &format!("hub:{}", found.name), Split::Train).unwrap(), found);
    assert_eq!(asked(&server), before + 1);
    // What an exam is made of is the other part, with the content that is there already.
    let exam = fetch(&hub, "openai/gsm8k", Split::Held).unwrap();
    assert_eq!(exam.name.part.as_deref(), Some("main/test"));

    // Without a network, and without anybody to ask.
    let gone = Hub { endpoint: "http://127.0.0.1:9".to_owned(), ..hub.clone() };
    let found_again = fetch(&gone, "openai/gsm8k:main/train", Split::Train).unwrap();
    assert_eq!(found_again.files, found.files);
    let note = found_again.note.unwrap();
    assert!(note.contains("the copy on disk is used (http://127.0.0.1:9 cannot be reached"), "{note}");
    let offline = Hub { offline: true, ..hub };
    assert_eq!(fetch(&offline, "openai/gsm8k:main/train", Split::Train).unwrap().files, found.files);
    let error = fetch(&offline, "openai/gsm8k:socratic/train", Split::Train).unwrap_err().to_string();
    assert!(error.contains("HF_HUB_OFFLINE is set, and there is no copy in"), "{error}");
}

/// What an upload in pieces leaves of a set that was filtered.
#[test]
fn a_piece_without_rows_is_left_out_unless_all_are() {
    let write = |contents: [&str; 3]| {
        let folder = tempfile::tempdir().unwrap();
        let snapshot = folder.path().join("datasets--some--pieces/snapshots").join(COMMIT).join("data");
        std::fs::create_dir_all(&snapshot).unwrap();
        for (number, content) in contents.iter().enumerate() {
            std::fs::write(snapshot.join(format!("train-0000{number}-of-00003.jsonl")), content).unwrap();
        }
        folder
    };
    let files = |cache: &Path| {
        let hub = Hub {
            endpoint: "http://127.0.0.1:9".to_owned(),
            cache: cache.to_owned(),
            token: None,
            offline: true,
            patience: Duration::from_secs(5),
        };
        let found = fetch(&hub, &format!("some/pieces@{COMMIT}"), Split::Train).unwrap().files;
        found.iter().map(|file| file.file_name().unwrap().to_string_lossy()[6..11].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(files(write([ROWS, " \n\n", ROWS]).path()), ["00000", "00002"]);
    assert_eq!(files(write(["", ROWS, "oops\n"]).path()), ["00001", "00002"]);
    assert_eq!(files(write(["", "\n", ""]).path()), ["00000"]);
}

#[test]
fn a_file_that_was_cut_off_is_gone_on_with_and_a_damaged_one_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(Fault::CutOff);
    let found = fetch(&hub(&server, folder.path()), "openai/gsm8k", Split::Train).unwrap();
    assert_eq!(std::fs::read_to_string(&found.files[0]).unwrap(), ROWS);
    let asked = server.asked.lock().unwrap().clone();
    assert!(asked.contains(&"GET /store/main/train.jsonl from 20".to_owned()), "{asked:?}");

    let folder = tempfile::tempdir().unwrap();
    let error =
        fetch(&hub(&serve(Fault::Damaged), folder.path()), "openai/gsm8k", Split::Train).unwrap_err().to_string();
    assert!(error.contains("main/train.jsonl came with another SHA-256 than the Hub states"), "{error}");
    let left: Vec<_> = std::fs::read_dir(folder.path().join("datasets--openai--gsm8k/blobs")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_cannot_be_had_is_said_plainly_and_soon() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(Fault::None);
    let hub = hub(&server, folder.path());
    #[track_caller]
    fn check(hub: &Hub, name: &str, expected: &str) {
        let started = std::time::Instant::now();
        let error = fetch(hub, name, Split::Train).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\n\nshould contain\n\n{expected}");
        assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    }
    check(
        &hub,
        "openai/gsm8k:min/train",
        "it has no part `min/train`; its parts are main/test, main/train, socratic/train",
    );
    check(&hub, "openai/gsm8k@v9", "there is no data set openai/gsm8k, or it has no revision v9");
    check(
        &hub,
        "openai/gsm9k",
        "there is no data set openai/gsm9k (nor a file of this name), or it is not for everybody: then set HF_TOKEN",
    );
    let known = Hub { token: Some("secret".to_owned()), ..hub.clone() };
    check(&known, "some/private", "Ask its owners.");
    let nobody = Hub { endpoint: "http://127.0.0.1:9".to_owned(), ..hub.clone() };
    check(&nobody, "openai/gsm8k", "cannot be reached (Connection refused");
    check(
        &nobody,
        "openai/gsm8k",
        "hint: fetch it where there is a network (hf download openai/gsm8k --repo-type dataset)",
    );
    let nowhere = Hub { endpoint: "http://no.such.host.invalid".to_owned(), ..hub.clone() };
    check(&nowhere, "openai/gsm8k", "http://no.such.host.invalid cannot be reached");
    let silent = serve(Fault::Silent);
    let patient = Hub { endpoint: silent.endpoint.clone(), patience: Duration::from_secs(1), ..hub.clone() };
    check(&patient, "openai/gsm8k", "does not answer, and there is no copy");
    let busy = Hub { endpoint: serve(Fault::Busy).endpoint, ..hub.clone() };
    check(&busy, "openai/gsm8k", "the Hub answers 503");
    let stopped = hub.fetch(&name("openai/gsm8k"), Split::Train, &|_, _, _| false).unwrap_err();
    assert!(matches!(stopped, DatasetError::Stopped), "{stopped}");
}
