//! `Content-Digest` (RFC 9530), as far as it is understood here: one SHA-256, in one spelling.

use data_encoding::BASE64;
use sha2::{Digest, Sha256};

/// The SHA-256 of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyDigest([u8; 32]);

impl BodyDigest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }

    /// Reads the header's value. Another algorithm, a second one or a parameter is refused: what is
    /// not checked must not be there.
    #[must_use]
    pub fn parse(field: &str) -> Option<Self> {
        let base64 = field.strip_prefix("sha-256=:")?.strip_suffix(':')?;
        BASE64.decode(base64.as_bytes()).ok()?.try_into().ok().map(Self)
    }

    /// The header's value.
    #[must_use]
    pub fn field(&self) -> String {
        format!("sha-256=:{}:", BASE64.encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_the_rfcs_example_is_the_rfcs() {
        let digest = BodyDigest::of(b"{\"hello\": \"world\"}");
        let field = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:";
        assert_eq!(digest.field(), field);
        assert_eq!(BodyDigest::parse(field), Some(digest));
    }

    #[test]
    fn anything_but_one_sha_256_in_its_one_spelling_is_refused() {
        let good = BodyDigest::of(b"").field();
        for bad in [
            String::new(),
            good.to_uppercase(),
            good.replace("sha-256", "sha-512"),
            good.replace(':', ""),
            format!("{good};x=1"),
            format!("{good}, {good}"),
            format!(" {good}"),
            good.replace("=:", ":"),
            "sha-256=:AAAA:".to_owned(),
        ] {
            assert_eq!(BodyDigest::parse(&bad), None, "{bad:?}");
        }
    }
}
