//! The strict profile of HTTP Message Signatures (RFC 9421): one signature, by one algorithm, over
//! exactly these components in this order, with exactly these parameters. Whoever may choose what
//! is signed may leave out what matters, so nobody may.

use axum::http::HeaderMap;
use axum::http::header::HeaderName;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sfv::{DictSerializer, Dictionary, InnerList, ListEntry, Parser};
use thiserror::Error;

use crate::membership::ids::UserKey;
use crate::membership::requests::Nonce;

/// What is signed, in this order.
pub const COMPONENTS: [&str; 5] = ["@method", "@authority", "@path", "@query", "content-digest"];

/// The parameters, each once, in any order.
pub const PARAMETERS: [&str; 5] = ["created", "nonce", "keyid", "alg", "tag"];

/// The one algorithm.
pub const ALGORITHM: &str = "ed25519";

/// What the signature is for. One made for something else is none.
pub const TAG: &str = "unibus-membership";

/// How long after `created` a request that changes nothing is taken, in seconds.
pub const READ_WINDOW_SECONDS: u64 = 30;

/// How long after `created` a change is taken. Longer, so that a caller can try again; that it is
/// done once only is the request log's part.
pub const CHANGE_WINDOW_SECONDS: u64 = 300;

/// How far the caller's clock may be ahead, in seconds.
pub const CLOCK_SKEW_SECONDS: u64 = 30;

/// The header with the components and parameters.
pub const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");

/// The header with the signature itself.
pub const SIGNATURE: HeaderName = HeaderName::from_static("signature");

/// The header with the body's digest.
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// Why a request does not count as signed. Nothing in it depends on who the caller is.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SignatureFault {
    /// A header that must be there once is not there.
    #[error("the request has no {0} header: sign it as the manual says")]
    Missing(HeaderName),
    /// A header is there twice.
    #[error("the request has the {0} header more than once")]
    Repeated(HeaderName),
    /// A header does not read as it should.
    #[error("the {0} header is not a well-formed value in its canonical spelling")]
    Malformed(HeaderName),
    /// There is not exactly one signature.
    #[error("the request must have exactly one signature")]
    NotOne,
    /// Other components are signed.
    #[error(
        "the signature must cover exactly \"@method\" \"@authority\" \"@path\" \"@query\" \
         \"content-digest\", in this order"
    )]
    Components,
    /// A parameter is missing, unknown or wrong.
    #[error("the signature's parameter {0} is missing, not allowed or not of its right form")]
    Parameter(String),
    /// Made too long ago.
    #[error("the signature was made too long ago: look at your clock and sign anew")]
    Expired,
    /// Made in the future.
    #[error("the signature was made in the future: look at your clock")]
    NotYetValid,
    /// It does not fit.
    #[error("the signature does not fit the request and the key")]
    Wrong,
    /// The body is another one.
    #[error("the body does not fit its Content-Digest")]
    Digest,
}

/// What of the request line and the headers is signed, besides the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'r> {
    /// The method, in capitals.
    pub method: &'r str,
    /// The `Host` header in lower case.
    pub authority: &'r str,
    /// The path as it is sent.
    pub path: &'r str,
    /// The query as it is sent, without the question mark.
    pub query: &'r str,
    /// The `Content-Digest` header's value.
    pub content_digest: &'r str,
}

/// Who says to have signed a request, not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// When, in seconds since 1970.
    pub created: u64,
    /// The caller's mark of the request.
    pub nonce: Nonce,
    /// The caller's key.
    pub key: UserKey,
    /// Components and parameters as they were sent, which are signed, too.
    input: String,
    signature: [u8; 64],
}

impl Claim {
    /// Reads the claim from a request's headers.
    ///
    /// # Errors
    /// For everything but the one profile.
    pub fn read(headers: &HeaderMap) -> Result<Self, SignatureFault> {
        let (label, entry, input) = only_member(headers, &SIGNATURE_INPUT)?;
        let (signature_label, signature, _) = only_member(headers, &SIGNATURE)?;
        if label != signature_label {
            return Err(SignatureFault::NotOne);
        }
        let ListEntry::InnerList(list) = entry else {
            return Err(SignatureFault::Malformed(SIGNATURE_INPUT));
        };
        check_components(&list)?;
        let (created, nonce, key) = parameters(&list)?;
        let signature = signature_bytes(&signature).ok_or(SignatureFault::Malformed(SIGNATURE))?;
        Ok(Self { created, nonce, key, input, signature })
    }

    /// Whether the request was signed within its window.
    ///
    /// # Errors
    /// `Expired` or `NotYetValid`.
    pub const fn check_time(&self, now: u64, window: u64) -> Result<(), SignatureFault> {
        if self.created > now.saturating_add(CLOCK_SKEW_SECONDS) {
            return Err(SignatureFault::NotYetValid);
        }
        if now > self.created.saturating_add(window) {
            return Err(SignatureFault::Expired);
        }
        Ok(())
    }

    /// Whether the key's owner signed this very request.
    ///
    /// # Errors
    /// `Wrong`, and not why.
    pub fn verify(&self, target: &Target<'_>) -> Result<(), SignatureFault> {
        let base = signature_base(&target.components(), &self.input);
        let key =
            VerifyingKey::from_bytes(self.key.as_bytes()).map_err(|_| SignatureFault::Wrong)?;
        key.verify_strict(base.as_bytes(), &Signature::from_bytes(&self.signature))
            .map_err(|_| SignatureFault::Wrong)
    }
}

impl Target<'_> {
    fn components(&self) -> [(&'static str, String); 5] {
        let values = [
            self.method.to_owned(),
            self.authority.to_owned(),
            self.path.to_owned(),
            format!("?{}", self.query),
            self.content_digest.to_owned(),
        ];
        let mut names = COMPONENTS.into_iter();
        values.map(|value| (names.next().unwrap_or_default(), value))
    }

    /// Signs the request: the values of `Signature-Input` and `Signature`.
    #[must_use]
    pub fn sign(&self, key: &SigningKey, created: u64, nonce: &Nonce) -> (String, String) {
        let keyid = data_encoding::HEXLOWER.encode(key.verifying_key().as_bytes());
        let names = COMPONENTS.map(|name| format!("\"{name}\"")).join(" ");
        let input = format!(
            "({names});created={created};nonce=\"{nonce}\";keyid=\"{keyid}\";alg=\"{ALGORITHM}\";\
             tag=\"{TAG}\""
        );
        let base = signature_base(&self.components(), &input);
        let signature = data_encoding::BASE64.encode(&key.sign(base.as_bytes()).to_bytes());
        (format!("sig={input}"), format!("sig=:{signature}:"))
    }
}

/// The text that is signed (RFC 9421, 2.5).
fn signature_base(components: &[(&str, String)], input: &str) -> String {
    let mut base = String::new();
    for (name, value) in components {
        base.push_str(&format!("\"{name}\": {value}\n"));
    }
    base.push_str(&format!("\"@signature-params\": {input}"));
    base
}

/// The value of a header that must be there exactly once.
///
/// # Errors
/// `Missing`, `Repeated`, `Malformed`.
pub fn only_value<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<&'h str, SignatureFault> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or_else(|| SignatureFault::Missing(name.clone()))?;
    if values.next().is_some() {
        return Err(SignatureFault::Repeated(name.clone()));
    }
    value.to_str().map_err(|_| SignatureFault::Malformed(name.clone()))
}

/// The one member of a dictionary: its label, its value, and its value as text. Only the canonical
/// spelling is read, which also finds what the parser would silently drop: what is there twice.
fn only_member(
    headers: &HeaderMap,
    name: &HeaderName,
) -> Result<(String, ListEntry, String), SignatureFault> {
    let malformed = || SignatureFault::Malformed(name.clone());
    let text = only_value(headers, name)?;
    let members: Dictionary = Parser::new(text).parse().map_err(|_| malformed())?;
    let mut canonical = DictSerializer::new();
    canonical.members(&members);
    if canonical.finish().as_deref() != Some(text) {
        return Err(malformed());
    }
    let mut members = members.into_iter();
    let (Some((label, entry)), None) = (members.next(), members.next()) else {
        return Err(SignatureFault::NotOne);
    };
    let value = text.strip_prefix(label.as_str()).and_then(|rest| rest.strip_prefix('='));
    let value = value.ok_or_else(malformed)?.to_owned();
    Ok((label.as_str().to_owned(), entry, value))
}

fn check_components(list: &InnerList) -> Result<(), SignatureFault> {
    let plain = list.items.iter().map(|item| {
        let name = item.bare_item.as_string().map(|name| name.as_str());
        name.filter(|_| item.params.is_empty())
    });
    if plain.eq(COMPONENTS.map(Some)) { Ok(()) } else { Err(SignatureFault::Components) }
}

fn parameters(list: &InnerList) -> Result<(u64, Nonce, UserKey), SignatureFault> {
    let fault = |name: &str| SignatureFault::Parameter(name.to_owned());
    let unknown = list.params.keys().find(|name| !PARAMETERS.contains(&name.as_str()));
    if let Some(name) = unknown {
        return Err(fault(name.as_str()));
    }
    let text = |name: &'static str| {
        let value = list.params.get(name).and_then(|value| value.as_string());
        value.map(|value| value.as_str()).ok_or_else(|| fault(name))
    };
    let created = list.params.get("created").and_then(|value| value.as_integer());
    let created = created.and_then(|created| u64::try_from(i64::from(created)).ok());
    let created = created.ok_or_else(|| fault("created"))?;
    let nonce = text("nonce")?.parse().map_err(|_| fault("nonce"))?;
    let keyid = text("keyid")?;
    let key: UserKey = keyid.parse().map_err(|_| fault("keyid"))?;
    // One caller must not have two names in the request log.
    if key.to_string() != keyid {
        return Err(fault("keyid"));
    }
    for (name, expected) in [("alg", ALGORITHM), ("tag", TAG)] {
        if text(name)? != expected {
            return Err(fault(name));
        }
    }
    Ok((created, nonce, key))
}

fn signature_bytes(entry: &ListEntry) -> Option<[u8; 64]> {
    match entry {
        ListEntry::Item(item) if item.params.is_empty() => {
            item.bare_item.as_byte_sequence()?.try_into().ok()
        }
        ListEntry::Item(_) | ListEntry::InnerList(_) => None,
    }
}

#[cfg(test)]
mod tests;
