//! Who may talk to the API server, and with which key it signs for service accounts. Made once per
//! cluster and kept on the control plane's disk: with a new key every token in every pod would
//! break at the next start.

use std::fs;

use rcgen::KeyPair;

use crate::machine::Machine;
use crate::{Error, Result};

/// Relative to the machine's `/var`.
const TOKENS: &str = "config/tokens.csv";
const SIGNING_KEY: &str = "config/sa.key";
const VERIFYING_KEY: &str = "config/sa.pub";

/// The bearer token of the cluster's administrator.
pub(crate) struct AdminToken(String);

impl AdminToken {
    /// The token itself, for a kubeconfig and nothing else.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

/// Makes what is missing and returns the administrator's token.
pub(crate) fn ensure(control: &Machine) -> Result<AdminToken> {
    let tokens = control.disk().join(TOKENS);
    if !control.disk().join(SIGNING_KEY).exists() {
        let pair = KeyPair::generate().map_err(Error::make("a signing key"))?;
        // The private half last: it is what says that the pair is complete.
        control.write(VERIFYING_KEY, pair.public_key_pem())?;
        control.write(SIGNING_KEY, pair.serialize_pem())?;
    }
    if !tokens.exists() {
        control.write(TOKENS, format!("{},admin,1,\"system:masters\"\n", random_token()?))?;
    }
    let text = fs::read_to_string(&tokens).map_err(Error::io("read", &tokens))?;
    match text.split_once(',') {
        Some((token, _)) if !token.is_empty() => Ok(AdminToken(token.to_owned())),
        _ => Err(Error::State { path: tokens, reason: "it holds no token".to_owned() }),
    }
}

fn random_token() -> Result<String> {
    let mut bytes = [0_u8; 24];
    getrandom::fill(&mut bytes).map_err(Error::make("a token"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
