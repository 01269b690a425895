//! What is asked of the hub, over HTTP.

use std::time::Duration;

use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderMap, Response, header};
use ureq::{Agent, Body, RequestBuilder, typestate::WithoutBody};

use crate::name::{Name, is_part};
use crate::{Error, Hub, Result};

/// How many redirects are followed before an answer must come.
const REDIRECTS: usize = 10;

/// A repository at the hub.
pub(crate) struct Remote<'a> {
    agent: Agent,
    endpoint: &'a str,
    token: Option<&'a str>,
    name: &'a Name,
}

/// What the hub says of a file.
pub(crate) struct Metadata {
    /// The commit that the revision stands at.
    pub(crate) commit: String,
    /// Names the bytes of the file: equal tags, equal bytes.
    pub(crate) etag: String,
}

impl<'a> Remote<'a> {
    pub(crate) fn new(hub: &'a Hub, name: &'a Name) -> Remote<'a> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .user_agent(concat!("polytask/", env!("CARGO_PKG_VERSION")));
        Remote {
            agent: config.build().into(),
            endpoint: hub.endpoint.trim_end_matches('/'),
            token: hub.token.as_deref(),
            name,
        }
    }

    /// The repository's page.
    pub(crate) fn page(&self) -> String {
        format!("{}/{}", self.endpoint, self.name.repository)
    }

    /// What the hub says of a file at a branch, tag or commit; nothing if the repository has no such file.
    pub(crate) fn metadata(&self, revision: &str, file: &str) -> Result<Option<Metadata>> {
        let mut address = self.address(revision, file);
        for _ in 0..REDIRECTS {
            let request = self.authorized(self.agent.head(&address), &address);
            let answer = request.config().max_redirects(0).build().call();
            let answer = answer.map_err(|error| network(&address, &error))?;
            let status = answer.status();
            if status.is_client_error() || status.is_server_error() {
                return self.refusal(&answer, &address).map(|()| None);
            }
            if let Some(metadata) = metadata(answer.headers(), status.is_redirection()) {
                return Ok(Some(metadata));
            }
            match text(answer.headers(), header::LOCATION.as_str()) {
                Some(location) if status.is_redirection() => address = self.absolute(location),
                _ => {
                    return Err(unexpected(
                        &address,
                        "expected the headers x-repo-commit and etag, found none",
                    ));
                }
            }
        }
        Err(unexpected(&address, "too many redirects"))
    }

    /// The bytes of a file from `start` on.
    pub(crate) fn bytes(&self, commit: &str, file: &str, start: u64) -> Result<Response<Body>> {
        let address = self.address(commit, file);
        let mut request = self.authorized(self.agent.get(&address), &address);
        if start > 0 {
            request = request.header(header::RANGE, format!("bytes={start}-"));
        }
        request.call().map_err(|error| network(&address, &error))
    }

    /// Where a file is served.
    pub(crate) fn address(&self, revision: &str, file: &str) -> String {
        format!("{}/resolve/{}/{file}", self.page(), revision.replace('/', "%2F"))
    }

    /// A redirect may name a path alone.
    fn absolute(&self, location: &str) -> String {
        if location.starts_with('/') {
            let origin: Vec<&str> = self.endpoint.splitn(4, '/').take(3).collect();
            origin.join("/") + location
        } else {
            location.to_owned()
        }
    }

    /// The token is for the hub alone, not for the servers that it redirects to.
    fn authorized(&self, request: RequestBuilder<WithoutBody>, address: &str) -> RequestBuilder<WithoutBody> {
        let at_hub = address.strip_prefix(self.endpoint).is_some_and(|rest| rest.starts_with('/'));
        match self.token.filter(|_| at_hub) {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    /// Nothing if the answer says that the file does not exist, else the error that it stands for.
    fn refusal(&self, answer: &Response<Body>, address: &str) -> Result<()> {
        let (status, name) = (answer.status().as_u16(), self.name.to_string());
        match (status, text(answer.headers(), "x-error-code")) {
            (_, Some("RevisionNotFound")) => Err(Error::NoRevision { name, address: self.page() }),
            (404, None | Some("EntryNotFound")) => Ok(()),
            (401 | 403 | 404, _) => Err(Error::NoRepository { name, status, address: address.to_owned() }),
            _ => Err(unexpected(address, &format!("the hub answered HTTP {status}"))),
        }
    }
}

/// The tag of a redirect's own text is not the file's: there the hub writes it as a linked one.
fn metadata(headers: &HeaderMap, redirect: bool) -> Option<Metadata> {
    let own = || text(headers, "etag").filter(|_| !redirect);
    let etag = text(headers, "x-linked-etag").or_else(own)?;
    let etag = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"');
    let commit = text(headers, "x-repo-commit")?;
    // Both become names of files.
    (is_part(etag) && is_part(commit)).then(|| Metadata { commit: commit.to_owned(), etag: etag.to_owned() })
}

/// A header as text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn network(address: &str, error: &ureq::Error) -> Error {
    Error::Network { address: address.to_owned(), message: error.to_string() }
}

/// An answer that does not follow the hub's protocol.
pub(crate) fn unexpected(address: &str, message: &str) -> Error {
    Error::UnexpectedAnswer { address: address.to_owned(), message: message.to_owned() }
}
