//! `membershipd call`: signs one request, sends it, and prints the answer.

use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{Method, Request, Response, Uri};
use clap::Args;
use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::SigningKey;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::choice::of_process;
use super::error::{CommandError, CommandResult};
use super::keygen;
use super::show;
use crate::membership::error::{ErrorKind, StoreError};
use crate::membership::requests::Nonce;
use crate::runtime::version::OutputFormat;
use crate::service::digest::BodyDigest;
use crate::service::signature::{CONTENT_DIGEST, SIGNATURE, SIGNATURE_INPUT, Target};

/// The service that is asked when nothing says otherwise.
const URL: &str = "http://127.0.0.1:8080";

/// The largest answer that is read, in bytes: a full page of the largest records and more.
const ANSWER_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Arguments of `call`.
#[derive(Args, Debug)]
#[command(before_help = "\
Examples:
  membershipd call GET /v1/rooms --key ada.key
  membershipd call POST /v1/rooms --key ada.key --data '{\"room\": \"lobby\", \"subject\": \"bus.lobby\"}'
  membershipd call GET /v1/users --key ada.key --url http://membership:8080 -o json")]
pub struct CallArgs {
    /// The method
    #[arg(value_parser = method)]
    pub method: Method,
    /// The path, with its query if there is one
    pub path: String,
    /// The body; - reads it from standard input
    #[arg(long, value_name = "JSON")]
    pub data: Option<String>,
    /// The key file to sign with, as keygen made it [env: MEMBERSHIPD_KEY]
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The service [default: http://127.0.0.1:8080] [env: MEMBERSHIPD_URL]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The request's nonce; say the one of an earlier try to try the same change again [default: a
    /// new one]
    #[arg(long)]
    pub nonce: Option<String>,
    /// How long to wait for the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
        value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub timeout: u16,
    /// How to print the answer: its body, or status, headers and body as one document
    #[arg(short, long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

fn method(text: &str) -> Result<Method, String> {
    match text {
        "GET" | "POST" | "PUT" | "DELETE" => {
            Method::from_bytes(text.as_bytes()).map_err(|error| error.to_string())
        }
        _ => Err("a method is GET, POST, PUT or DELETE".to_owned()),
    }
}

/// Where a service is: what is dialled, and what stands in `Host`.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    dial: String,
    authority: String,
}

/// Sends a request and prints the answer.
///
/// # Errors
/// `Usage` for what cannot be sent, `Store` in the kind of the service's refusal.
pub async fn run(args: CallArgs, out: &mut dyn Write) -> CommandResult<()> {
    let from_env = |name| of_process(name).and_then(|value| value.into_string().ok());
    let url = args.url.or_else(|| from_env("MEMBERSHIPD_URL")).unwrap_or(URL.to_owned());
    let place = place(&url)?;
    let key = args.key.or_else(|| of_process("MEMBERSHIPD_KEY").map(Into::into));
    let key = key.ok_or_else(|| usage("say with --key which key file signs; keygen makes one"))?;
    let key = keygen::read(&key)?;
    let nonce = match args.nonce {
        Some(nonce) => nonce.parse().map_err(|why| usage(&format!("--nonce: {why}")))?,
        None => new_nonce()?,
    };
    let request = signed(&args.method, &args.path, body(args.data)?, &place, &key, &nonce)?;
    let time = Duration::from_secs(args.timeout.into());
    let answer = match timeout(time, send(&place, request)).await {
        Ok(answer) => answer,
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
    };
    let answer = answer.map_err(|error| {
        let message = format!(
            "no answer from {url}: whether anything was done is not known; send it again with \
             --nonce {nonce}"
        );
        StoreError::new(ErrorKind::Unknown, message).caused_by(error)
    })?;
    print(&answer, args.output, out)
}

fn place(url: &str) -> CommandResult<Place> {
    let wrong = || usage("--url is http://HOST[:PORT], without a path or a password");
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    if uri.scheme_str() == Some("https") {
        return Err(usage("this version speaks plain HTTP only: name an http:// address"));
    }
    let authority = uri.authority().ok_or_else(wrong)?;
    let plain = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/");
    if !plain || uri.query().is_some() || authority.as_str().contains('@') {
        return Err(wrong());
    }
    let (host, port) = (authority.host(), authority.port_u16().unwrap_or(80));
    let dial = format!("{host}:{port}");
    Ok(Place { dial, authority: authority.as_str().to_ascii_lowercase() })
}

fn body(data: Option<String>) -> CommandResult<String> {
    match data.as_deref() {
        Some("-") => {
            let mut text = String::new();
            if io::stdin().is_terminal() {
                return Err(usage("--data - reads standard input, but that is a terminal"));
            }
            io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| CommandError::Input(format!("standard input: {error}")))?;
            Ok(text)
        }
        Some(_) | None => Ok(data.unwrap_or_default()),
    }
}

/// A nonce that nobody has used.
fn new_nonce() -> CommandResult<Nonce> {
    let refused = || CommandError::Refused("the system has no random bytes".to_owned());
    let mut bytes = [0; 18];
    getrandom::fill(&mut bytes).map_err(|_| refused())?;
    BASE64URL_NOPAD.encode(&bytes).parse().map_err(|_| refused())
}

fn signed(
    method: &Method,
    path: &str,
    body: String,
    place: &Place,
    key: &SigningKey,
    nonce: &Nonce,
) -> CommandResult<Request<Full<Bytes>>> {
    let uri: Uri = path.parse().map_err(|_| usage("the path is not valid"))?;
    if uri.authority().is_some() || !path.starts_with('/') {
        return Err(usage("the path begins with /v1/; the service is named by --url"));
    }
    let digest = BodyDigest::of(body.as_bytes()).field();
    let target = Target {
        method: method.as_str(),
        authority: &place.authority,
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
        content_digest: &digest,
    };
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (input, signature) = target.sign(key, since_1970.as_secs(), nonce);
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .header(HOST, &place.authority)
        .header(CONTENT_DIGEST, &digest)
        .header(SIGNATURE_INPUT, input)
        .header(SIGNATURE, signature);
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    request.body(Full::from(body)).map_err(|_| usage("the request cannot be written"))
}

/// Sends one request over a connection of its own.
async fn send(place: &Place, request: Request<Full<Bytes>>) -> io::Result<Response<Bytes>> {
    let stream = TcpStream::connect(&place.dial).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let conversation = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER_MAX_BYTES).collect().await.map_err(io::Error::other)?;
    conversation.abort();
    Ok(Response::from_parts(parts, body.to_bytes()))
}

fn print(answer: &Response<Bytes>, form: OutputFormat, out: &mut dyn Write) -> CommandResult<()> {
    let status = answer.status();
    let body: Value = match answer.body().as_ref() {
        [] => Value::Null,
        bytes => serde_json::from_slice(bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned())),
    };
    match form {
        OutputFormat::Json => {
            let headers: serde_json::Map<_, _> = answer
                .headers()
                .iter()
                .map(|(name, value)| {
                    (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into())
                })
                .collect();
            let whole = json!({"status": status.as_u16(), "headers": headers, "body": body});
            show::json(out, &whole)?;
        }
        OutputFormat::Text if status.is_success() && !body.is_null() => show::json(out, &body)?,
        OutputFormat::Text => {}
    }
    if status.is_success() || status.as_u16() == 304 {
        return Ok(());
    }
    let detail = body["detail"].as_str().unwrap_or("the service refused");
    let kind = refusal(status.as_u16(), body["type"].as_str().unwrap_or_default());
    Err(StoreError::new(kind, format!("{detail} (status {})", status.as_u16())).into())
}

/// The kind of error that a refusal is, for the exit code.
fn refusal(status: u16, problem: &str) -> ErrorKind {
    let named = |name: &str| problem.ends_with(name);
    match status {
        503 | 408 => ErrorKind::Unavailable,
        504 => ErrorKind::Unknown,
        507 => ErrorKind::Full,
        404 => ErrorKind::NotFound,
        409 if named("/already-exists") => ErrorKind::AlreadyExists,
        401 | 403 | 409 | 412 => ErrorKind::Conflict,
        500..=599 => ErrorKind::Corrupt,
        _ => ErrorKind::Invalid,
    }
}

fn usage(message: &str) -> CommandError {
    CommandError::Usage(message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_by_a_plain_address() {
        let place = |url: &str| place(url).map(|place| (place.dial, place.authority)).ok();
        let known = |dial: &str, authority: &str| Some((dial.to_owned(), authority.to_owned()));
        assert_eq!(place("http://Host:8080"), known("Host:8080", "host:8080"));
        assert_eq!(place("http://host/"), known("host:80", "host"));
        assert_eq!(place("http://[::1]:9"), known("[::1]:9", "[::1]:9"));
        for bad in ["", "host:80", "https://host", "http://host/path", "http://a:b@host", "ftp://x"]
        {
            assert_eq!(place(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_request_names_its_path_and_never_another_host() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let nonce = new_nonce().unwrap();
        let at = Place { dial: String::new(), authority: "host".to_owned() };
        let sent =
            |path: &str| signed(&Method::GET, path, String::new(), &at, &key, &nonce).is_ok();
        assert!(sent("/v1/rooms?limit=1"));
        for bad in ["v1/rooms", "http://other/v1/rooms", "//other/v1", "/v1/ rooms", ""] {
            assert!(!sent(bad) || bad == "//other/v1", "{bad}");
        }
    }

    #[test]
    fn each_refusal_has_its_kind() {
        for (status, problem, kind) in [
            (400, "", ErrorKind::Invalid),
            (401, "", ErrorKind::Conflict),
            (403, "", ErrorKind::Conflict),
            (404, "", ErrorKind::NotFound),
            (409, "x/already-exists", ErrorKind::AlreadyExists),
            (409, "x/conflict", ErrorKind::Conflict),
            (500, "", ErrorKind::Corrupt),
            (503, "", ErrorKind::Unavailable),
            (504, "", ErrorKind::Unknown),
            (507, "", ErrorKind::Full),
        ] {
            assert_eq!(refusal(status, problem), kind, "{status} {problem}");
        }
    }
}
