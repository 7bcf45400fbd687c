//! The one place where connection options are made: addresses, the role's nkey and inbox, the
//! certificate authority. Nothing is kept and nothing is asked here.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{Auth, AuthError, Client, ConnectOptions, ServerAddr};
use nkeys::{KeyPair, KeyPairType};
use thiserror::Error;
use zeroize::Zeroizing;

/// How long one try at one server may take. A frozen server accepts and then says nothing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a quiet connection is tried; two missed answers end it.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// How many tries to come back a lost connection makes before it ends itself, and with it whatever
/// was still waiting to be sent. With waits of at most [`RECONNECT_PAUSE_MAX`] that is a minute or
/// two.
const MAX_RECONNECTS: usize = 120;

/// The longest wait between two tries to come back.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How a certificate in PEM form begins.
const PEM_BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// Who connects. Each role has a key and an inbox of its own, so that no role hears another's
/// answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The operator in the system account.
    System,
    /// The operator in the membership account; `membershipd init` too.
    Operator,
    /// The membership service.
    Membershipd,
    /// The move from a SQLite file.
    Migration,
}

impl Role {
    /// The role in one word, as it is in names and in the inbox prefix.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Operator => "operator",
            Self::Membershipd => "membershipd",
            Self::Migration => "migration",
        }
    }

    /// The prefix of the role's reply subjects; its user may subscribe to nothing else.
    #[must_use]
    pub fn inbox_prefix(self) -> String {
        format!("_INBOX_{}", self.name())
    }
}

/// A NATS address that cannot be read.
#[derive(Debug, Error)]
#[error("{address:?} is not a NATS address: write nats://HOST:PORT, several with commas between")]
pub struct InvalidAddress {
    address: String,
}

/// A file for the connection that cannot be what it must be. Its content is never repeated.
#[derive(Debug, Error)]
#[error("{what} {} cannot be used: {why}", file.display())]
pub struct UnusableFile {
    what: &'static str,
    file: PathBuf,
    why: String,
}

/// How to reach the servers, and as whom.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    servers: Vec<ServerAddr>,
    role: Role,
    nkey: Option<Seed>,
    ca: Option<PathBuf>,
}

/// Where the seed of a key is. What it holds is never shown.
#[derive(Clone)]
enum Seed {
    File(PathBuf),
    Held(Arc<Zeroizing<String>>),
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => f.debug_tuple("File").field(file).finish(),
            Self::Held(_) => f.write_str("Held"),
        }
    }
}

impl NatsOptions {
    /// Servers by their addresses, with commas between. Only these are dialled, never what a server
    /// advertises: its own idea of its address may not be reachable from here.
    ///
    /// # Errors
    /// [`InvalidAddress`] for a text that names none.
    pub fn new(addresses: &str, role: Role) -> Result<Self, InvalidAddress> {
        let parse = |address: &str| {
            let server = address.parse::<ServerAddr>().ok();
            server
                .filter(|server| !server.host().is_empty())
                .ok_or_else(|| InvalidAddress { address: address.to_owned() })
        };
        let servers = addresses.split(',').map(str::trim).map(parse).collect::<Result<_, _>>()?;
        Ok(Self { servers, role, nkey: None, ca: None })
    }

    /// Who connects.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The file with the seed of the role's nkey. It is read at each connection attempt, so that a
    /// rotated one is picked up.
    #[must_use]
    pub fn nkey(mut self, file: Option<&Path>) -> Self {
        self.nkey = file.map(|file| Seed::File(file.to_path_buf()));
        self
    }

    /// The seed of the role's nkey itself.
    #[must_use]
    pub fn seed(mut self, seed: Zeroizing<String>) -> Self {
        self.nkey = Some(Seed::Held(Arc::new(seed)));
        self
    }

    /// The file with the certificate authority; demands TLS.
    #[must_use]
    pub fn ca(mut self, file: Option<&Path>) -> Self {
        self.ca = file.map(Path::to_path_buf);
        self
    }

    /// Looks at the files that were named, so that a wrong one is told at once and not as servers
    /// that refuse everybody.
    ///
    /// # Errors
    /// [`UnusableFile`].
    pub fn check_files(&self) -> Result<(), UnusableFile> {
        if let Some(Seed::File(file)) = &self.nkey {
            let unusable = |why| UnusableFile { what: "the nkey seed", file: file.clone(), why };
            let pair = read_seed(file).map_err(unusable)?;
            if pair.key_pair_type() != KeyPairType::User {
                return Err(unusable("it is the seed of another kind than a user".to_owned()));
            }
        }
        if let Some(file) = &self.ca {
            let what = "the certificate authority";
            let unusable = |why| UnusableFile { what, file: file.clone(), why };
            let text = std::fs::read(file).map_err(|error| unusable(error.to_string()))?;
            if !text.windows(PEM_BEGIN.len()).any(|window| window == PEM_BEGIN) {
                return Err(unusable("it holds no certificate in PEM form".to_owned()));
            }
        }
        Ok(())
    }

    /// Connects to one of the servers, whichever takes the role first.
    ///
    /// # Errors
    /// The last server's refusal.
    pub async fn connect(&self) -> Result<Client, async_nats::ConnectError> {
        self.connect_until(Arc::default()).await
    }

    /// The same, for a connection that may be retired: once `retired` is set it never comes back,
    /// so that what it has not sent by then is never sent.
    pub(super) async fn connect_until(
        &self,
        retired: Arc<AtomicBool>,
    ) -> Result<Client, async_nats::ConnectError> {
        let seed = self.nkey.clone();
        let authenticate = move |nonce: Vec<u8>| {
            let seed = seed.clone();
            let retired = retired.load(Ordering::Acquire);
            async move {
                if retired {
                    return Err(AuthError::new("this connection was retired"));
                }
                sign(seed.as_ref(), &nonce).map_err(AuthError::new)
            }
        };
        let options = ConnectOptions::with_auth_callback(authenticate)
            .name(self.role.name())
            .custom_inbox_prefix(self.role.inbox_prefix())
            .ignore_discovered_servers()
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING_INTERVAL)
            .max_reconnects(MAX_RECONNECTS)
            .reconnect_delay_callback(reconnect_pause);
        let options = match &self.ca {
            Some(ca) => options.add_root_certificates(ca.clone()).require_tls(true),
            None => options,
        };
        options.connect(self.servers.as_slice()).await
    }
}

fn reconnect_pause(attempts: usize) -> Duration {
    let doubled = attempts.saturating_sub(1).min(10);
    RECONNECT_PAUSE_MAX.min(Duration::from_millis((1 << doubled) - 1))
}

/// Proves to hold the key of a seed; a server without users is told nothing.
fn sign(seed: Option<&Seed>, nonce: &[u8]) -> Result<Auth, String> {
    let mut auth = Auth::new();
    let Some(seed) = seed else { return Ok(auth) };
    let pair = match seed {
        Seed::File(file) => {
            read_seed(file).map_err(|why| format!("the nkey seed {}: {why}", file.display()))?
        }
        Seed::Held(seed) => key_pair(seed)?,
    };
    auth.signature =
        Some(pair.sign(nonce).map_err(|error| format!("cannot sign with the nkey: {error}"))?);
    auth.nkey = Some(pair.public_key());
    Ok(auth)
}

fn read_seed(file: &Path) -> Result<KeyPair, String> {
    let seed = std::fs::read_to_string(file)
        .map(Zeroizing::new)
        .map_err(|error| format!("it cannot be read: {error}"))?;
    key_pair(&seed)
}

/// A line end after the seed is usual and would make it invalid.
fn key_pair(seed: &str) -> Result<KeyPair, String> {
    KeyPair::from_seed(seed.trim()).map_err(|error| format!("it holds no nkey seed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_commas_between() {
        let options = NatsOptions::new("nats://a:1, tls://b:2", Role::Membershipd).unwrap();
        assert_eq!(options.servers.len(), 2);
        for wrong in ["", "nats://a:1,", "http://[", ","] {
            assert!(NatsOptions::new(wrong, Role::Membershipd).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_pause_before_coming_back_grows_to_a_second() {
        let pauses: Vec<_> = (0..14).map(|n| reconnect_pause(n).as_millis()).collect();
        assert_eq!(pauses[..5], [0, 0, 1, 3, 7]);
        assert_eq!(pauses[11..], [1000, 1000, 1000]);
    }

    #[test]
    fn a_seed_file_may_end_with_a_line_end_and_its_trouble_never_shows_the_seed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("seed.nk");
        let pair = nkeys::KeyPair::new_user();
        std::fs::write(&file, format!("{}\n", pair.seed().unwrap())).unwrap();
        let held = Seed::Held(Arc::new(Zeroizing::new(pair.seed().unwrap())));
        assert_eq!(format!("{held:?}"), "Held");
        for seed in [Seed::File(file.clone()), held] {
            let auth = sign(Some(&seed), b"nonce").unwrap();
            assert_eq!(auth.nkey, Some(pair.public_key()));
            pair.verify(b"nonce", &auth.signature.unwrap()).unwrap();
        }

        std::fs::write(&file, "SUSECRET").unwrap();
        let wrong = Seed::Held(Arc::new(Zeroizing::new("SUSECRET".to_owned())));
        for seed in [Seed::File(file), wrong] {
            let trouble = sign(Some(&seed), b"nonce").map(|_| ()).unwrap_err();
            assert!(!trouble.contains("SECRET"), "{trouble}");
        }
    }

    #[test]
    fn a_file_that_cannot_serve_is_told_before_anybody_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("named");
        let options = NatsOptions::new("nats://a:1", Role::Membershipd).unwrap();
        let (seed, ca) = (options.clone().nkey(Some(&file)), options.clone().ca(Some(&file)));
        options.check_files().unwrap();
        assert!(seed.check_files().is_err() && ca.check_files().is_err(), "there is no file");
        let user = KeyPair::new_user().seed().unwrap();
        for (text, serves) in [
            (user.clone(), true),
            (format!("{user}\r\n"), true),
            (user[..user.len() - 1].to_owned(), false),
            (KeyPair::new_account().seed().unwrap(), false),
            (KeyPair::new_operator().seed().unwrap(), false),
            (KeyPair::new_user().public_key(), false),
            (String::new(), false),
        ] {
            std::fs::write(&file, &text).unwrap();
            let told = seed.check_files().err().map(|error| error.to_string());
            assert_eq!(told.is_none(), serves, "{told:?}");
            assert!(told.is_none_or(|told| text.is_empty() || !told.contains(&text)));
        }
        assert!(ca.check_files().is_err(), "no certificate");
        std::fs::write(&file, "text\r\n-----BEGIN CERTIFICATE-----\r\n").unwrap();
        ca.check_files().unwrap();
    }
}
