//! Asking the Hub: `GET /api/datasets/NAME/revision/REVISION` lists a data set's files and its commit,
//! `/datasets/NAME/resolve/COMMIT/PATH` is a file. Large files are kept elsewhere: the answer is then a redirection whose
//! head already says the content's hash and size (`x-linked-etag`, `x-linked-size`).
//!
//! The client is reqwest over rustls, with the system's certificates and proxy. It is asynchronous, so that a person's wish to
//! stop is seen while it waits, and is itself waited for here, on a runtime of its own thread.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RANGE, USER_AGENT};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;

use super::cache::{Cache, make_folder_of};
use super::name::{HubName, is_commit, is_relative};
use super::{Hub, Watch};
use crate::source::hash_file;

/// How often a file is begun or gone on with before giving up.
const ATTEMPTS: u32 = 3;

/// Redirections within the Hub (of a data set that was renamed) that are followed.
const MOST_REDIRECTIONS: usize = 5;

/// Why something could not be had.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The Hub was not reached, or did not answer in time: a copy on disk will do.
    Unreachable(String),
    /// It answered, and that is that.
    Refused(String),
    /// A person does not want to wait.
    Stopped,
}

/// What a data set holds at a commit.
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: Vec<String>,
}

/// The answer to a question about a data set, as far as it is of interest.
#[derive(Deserialize)]
struct Info {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// What the head of a file says.
struct Head {
    etag: String,
    size: u64,
}

pub(super) struct Client {
    endpoint: String,
    following: reqwest::Client,
    staying: reqwest::Client,
    runtime: Option<tokio::runtime::Runtime>,
    patience: Duration,
}

impl Client {
    pub(super) fn new(hub: &Hub) -> Result<Self, Trouble> {
        let refused = |what: String| Trouble::Refused(what);
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("recipe/", env!("CARGO_PKG_VERSION"))));
        if let Some(token) = &hub.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| refused("the token holds characters that no header can".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let client = |redirections: reqwest::redirect::Policy| {
            reqwest::Client::builder()
                .default_headers(headers.clone())
                .connect_timeout(hub.patience)
                .read_timeout(hub.patience)
                .redirect(redirections)
                .build()
                .map_err(|error| refused(format!("no connection can be made: {}", causes(&error))))
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| refused(format!("no connection can be made: {error}")))?;
        Ok(Self {
            endpoint: hub.endpoint.trim_end_matches('/').to_owned(),
            following: client(reqwest::redirect::Policy::limited(10))?,
            staying: client(reqwest::redirect::Policy::none())?,
            runtime: Some(runtime),
            patience: hub.patience,
        })
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, Trouble> {
        let runtime = self.runtime.as_ref().ok_or(Trouble::Stopped)?;
        Ok(runtime.block_on(work))
    }

    /// The commit that the name's revision is, and its files.
    pub(super) fn list(&self, name: &HubName) -> Result<Listing, Trouble> {
        let revision = name.revision().replace('/', "%2F");
        let url = format!("{}/api/datasets/{}/revision/{revision}", self.endpoint, name.repo);
        let answer = async {
            let response = self.following.get(&url).send().await.map_err(|error| self.unreachable(&error))?;
            let response = accepted(response, name)?;
            response.bytes().await.map_err(|error| self.unreachable(&error))
        };
        // A server may also send its answer drop by drop.
        let bytes = self.wait(async { tokio::time::timeout(self.patience * 2, answer).await })?;
        let bytes = bytes.map_err(|_| Trouble::Unreachable(self.no_answer()))??;
        let info: Info = serde_json::from_slice(&bytes)
            .map_err(|error| Trouble::Refused(format!("{url} is no answer of the Hub: {error}")))?;
        if !is_commit(&info.sha) {
            return Err(Trouble::Refused(format!("{url} names no commit: `{}`", info.sha)));
        }
        let files = info.siblings.into_iter().map(|sibling| sibling.rfilename).filter(|file| is_relative(file));
        Ok(Listing { commit: info.sha, files: files.collect() })
    }

    /// Fetches a file into the cache: under another name, and from where an earlier attempt was cut off.
    pub(super) fn fetch(
        &self,
        cache: &Cache,
        name: &HubName,
        commit: &str,
        path: &str,
        watch: Watch<'_>,
    ) -> Result<(), Trouble> {
        let url = format!("{}/datasets/{}/resolve/{commit}/{}", self.endpoint, name.repo, escaped(path));
        let head = self.wait(self.head(&url, name))??;
        let blob = cache.blob(&head.etag);
        make_folder_of(&blob).map_err(Trouble::Refused)?;
        let is_there = || blob.metadata().is_ok_and(|known| known.len() == head.size);
        if !is_there() {
            let partial = blob.with_file_name(format!("{}.incomplete", head.etag));
            let failed =
                |error: std::io::Error| Trouble::Refused(format!("cannot write {}: {error}", partial.display()));
            let mut file = File::options().create(true).truncate(false).write(true).open(&partial).map_err(failed)?;
            // Another process may be fetching the same, and be done with it meanwhile.
            file.lock().map_err(failed)?;
            if is_there() {
                return cache.link(commit, path, &head.etag).map_err(Trouble::Refused);
            }
            let mut attempt = 1;
            while let Err(trouble) = self.wait(self.body(&url, name, path, &head, &mut file, watch))? {
                match trouble {
                    Trouble::Unreachable(_) if attempt < ATTEMPTS => {
                        self.wait(async { tokio::time::sleep(Duration::from_secs(1)).await })?;
                        attempt += 1;
                    }
                    // What has come is kept, and gone on with another time.
                    other => return Err(other),
                }
            }
            // Large files are called after the SHA-256 of their content.
            if head.etag.len() == 64 {
                let found = hash_file(&partial).map_err(|error| Trouble::Refused(error.to_string()))?;
                if found != head.etag {
                    let _ = fs::remove_file(&partial);
                    let what =
                        format!("{path} came with another SHA-256 than the Hub states, {found} for {}", head.etag);
                    return Err(Trouble::Refused(what));
                }
            }
            fs::rename(&partial, &blob).map_err(failed)?;
        }
        cache.link(commit, path, &head.etag).map_err(Trouble::Refused)
    }

    /// What the Hub says of a file, without following it to where it is kept.
    async fn head(&self, url: &str, name: &HubName) -> Result<Head, Trouble> {
        let mut url = Url::parse(url).map_err(|error| Trouble::Refused(format!("{url} is no address: {error}")))?;
        for _ in 0..MOST_REDIRECTIONS {
            let request = self.staying.request(Method::HEAD, url.clone());
            let response = request.send().await.map_err(|error| self.unreachable(&error))?;
            let text = |key: &str| response.headers().get(key).and_then(|value| value.to_str().ok()).map(str::to_owned);
            let target = response.status().is_redirection().then(|| text(LOCATION.as_str())).flatten();
            // A path alone leads to a data set under another name; an address leads to where large files are kept.
            if let Some(target) = target.filter(|target| target.starts_with('/')) {
                url =
                    url.join(&target).map_err(|error| Trouble::Refused(format!("{target} is no address: {error}")))?;
                continue;
            }
            let response = if response.status().is_redirection() { response } else { accepted(response, name)? };
            let text = |keys: &[&str]| {
                let found = keys.iter().find_map(|key| response.headers().get(*key)?.to_str().ok());
                found.map(|text| text.trim_start_matches("W/").trim_matches('"').to_owned())
            };
            let etag = text(&["x-linked-etag", "etag"]).filter(|etag| is_etag(etag));
            let size = text(&["x-linked-size", "content-length"]).and_then(|size| size.parse().ok());
            let (Some(etag), Some(size)) = (etag, size) else {
                return Err(Trouble::Refused(format!("{url} says neither a hash nor a size, as the Hub does")));
            };
            return Ok(Head { etag, size });
        }
        Err(Trouble::Refused(format!("{url} leads from one address to the next")))
    }

    /// The rest of a file.
    async fn body(
        &self,
        url: &str,
        name: &HubName,
        path: &str,
        head: &Head,
        file: &mut File,
        watch: Watch<'_>,
    ) -> Result<(), Trouble> {
        let failed = |error: std::io::Error| Trouble::Refused(format!("cannot write {path}: {error}"));
        let mut done = file.seek(SeekFrom::End(0)).map_err(failed)?;
        if done > head.size {
            file.set_len(0).map_err(failed)?;
            done = file.seek(SeekFrom::Start(0)).map_err(failed)?;
        }
        if done == head.size {
            return Ok(());
        }
        let mut request = self.following.get(url);
        if done > 0 {
            request = request.header(RANGE, format!("bytes={done}-"));
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let mut response = accepted(response, name)?;
        if done > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
            // It does not do pieces: from the beginning.
            file.set_len(0).map_err(failed)?;
            done = file.seek(SeekFrom::Start(0)).map_err(failed)?;
        }
        while let Some(piece) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            file.write_all(&piece).map_err(failed)?;
            done += piece.len() as u64;
            if !watch(path, done, head.size) {
                return Err(Trouble::Stopped);
            }
        }
        if done == head.size {
            return Ok(());
        }
        Err(Trouble::Unreachable(format!("{path} was cut off after {done} of {} bytes", head.size)))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Trouble {
        Trouble::Unreachable(if error.is_timeout() {
            self.no_answer()
        } else {
            format!("{} cannot be reached ({})", self.endpoint, causes(error))
        })
    }

    fn no_answer(&self) -> String {
        format!("{} does not answer", self.endpoint)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // A name server that does not answer is not waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The response, if it is what was asked for.
fn accepted(response: Response, name: &HubName) -> Result<Response, Trouble> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    // The Hub gives its reason in a header.
    let reason = response.headers().get("x-error-message").and_then(|value| value.to_str().ok()).map(str::to_owned);
    Err(match status {
        StatusCode::NOT_FOUND if name.revision.is_some() => {
            Trouble::Refused(format!("there is no data set {}, or it has no revision {}", name.repo, name.revision()))
        }
        // The Hub does not tell strangers whether there is something.
        StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND => Trouble::Refused(format!(
            "there is no data set {} (nor a file of this name), or it is not for everybody: then set HF_TOKEN",
            name.repo
        )),
        StatusCode::FORBIDDEN => {
            Trouble::Refused(reason.unwrap_or_else(|| "its owners ask for consent first; see its page".to_owned()))
        }
        _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Trouble::Unreachable(format!("the Hub answers {status}"))
        }
        _ => Trouble::Refused(reason.unwrap_or_else(|| format!("the Hub answers {status}"))),
    })
}

/// Whether a file of the cache may be called so.
fn is_etag(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// A path as part of an address.
fn escaped(path: &str) -> String {
    path.bytes().fold(String::with_capacity(path.len()), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
        text
    })
}

/// What went wrong at the bottom: the outer errors only say that something did.
fn causes(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
