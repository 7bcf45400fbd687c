//! The NATS configuration: one text for all servers of a cluster, which differ only in the name
//! that they take from their environment.

use std::fmt;

use sha2::{Digest, Sha256};

use super::nats_value::{Block, Value, render, text, texts};
use super::permissions::permissions;
use crate::cluster::names::Role;
use crate::cluster::validate::{Servers, ValidatedCluster};

/// The name under which a server reports the digest of the configuration it runs with.
pub const CONFIG_METADATA: &str = "config";

/// The environment variable with the pod's name, which is the server's. A server that got its name
/// on the command line refuses every reload, because the file then has another one.
pub const NAME_VARIABLE: &str = "POD_NAME";

/// A configuration with its digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsConfig {
    /// The text.
    pub text: String,
    /// Digest over everything. Servers report it back, which proves what they run with: the log of
    /// a refused reload proves nothing.
    pub digest: String,
    /// Digest over what only a restart takes up.
    pub restart_digest: String,
}

/// The public nkey of each role, made known to every server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKeys {
    /// The operator in the system account.
    pub system: String,
    /// The operator in the membership account.
    pub operator: String,
    /// The membership service.
    pub membershipd: String,
    /// The migration.
    pub migration: String,
}

impl PublicKeys {
    /// The key of a role.
    #[must_use]
    pub fn of(&self, role: Role) -> &str {
        match role {
            Role::System => &self.system,
            Role::Operator => &self.operator,
            Role::Membershipd => &self.membershipd,
            Role::Migration => &self.migration,
        }
    }
}

/// The configuration of a cluster's servers.
#[must_use]
pub fn nats_config(cluster: &ValidatedCluster, keys: &PublicKeys) -> NatsConfig {
    let restart_digest = digest(&render(&body(cluster, keys)));
    let mut block = body(cluster, keys);
    block.push(("debug", Value::Switch(cluster.debug)));
    let digest = digest(&render(&block));
    let metadata = vec![(CONFIG_METADATA, text(&digest))];
    block.push(("server_metadata", Value::Block(metadata)));
    NatsConfig { text: render(&block), digest, restart_digest }
}

fn body(cluster: &ValidatedCluster, keys: &PublicKeys) -> Block {
    let mut block = vec![("server_name", Value::Environment(NAME_VARIABLE))];
    block.extend(listeners());
    block.extend(limits());
    block.push(("jetstream", Value::Block(jetstream(cluster))));
    block.push(("accounts", Value::Block(accounts(cluster, keys))));
    block.push(("system_account", text("SYS")));
    match cluster.servers {
        // A standalone server has no meta group; a cluster block would make it wait for peers.
        Servers::One => {}
        Servers::Three | Servers::Five => {
            block.push(("cluster", Value::Block(routes(cluster))));
        }
    }
    block
}

/// Clients on 4222; monitoring on the pod's address, for the kubelet's probes only.
fn listeners() -> Block {
    vec![("listen", text("0.0.0.0:4222")), ("http", text("0.0.0.0:8222"))]
}

/// Bounds on what one client can take, and pings that notice a dead peer within 30 s instead of the
/// default 6 minutes. A sealed key of 64 KiB fits the payload with its JSON around it.
fn limits() -> Block {
    vec![
        ("max_payload", Value::Number(256 << 10)),
        ("max_connections", Value::Number(1024)),
        ("max_subscriptions", Value::Number(4096)),
        ("write_deadline", text("5s")),
        ("ping_interval", text("10s")),
        ("ping_max", Value::Number(2)),
        // The server takes no shorter duration than 30 s; without clients it stops after the grace.
        ("lame_duck_duration", text("30s")),
        ("lame_duck_grace_period", text("10s")),
    ]
}

/// Every acknowledged write is on disk: with the default a power failure loses two minutes.
fn jetstream(cluster: &ValidatedCluster) -> Block {
    vec![
        ("store_dir", text("/data")),
        ("max_file_store", number(cluster.file_store_bytes)),
        ("max_memory_store", Value::Number(16 << 20)),
        ("sync_interval", text("always")),
    ]
}

fn accounts(cluster: &ValidatedCluster, keys: &PublicKeys) -> Block {
    let user = |role: Role| {
        let mut user = vec![("nkey", text(keys.of(role)))];
        if let Some(permissions) = permissions(role, &cluster.prefix) {
            user.push(("permissions", permissions));
        }
        Value::Block(user)
    };
    let members = [Role::Operator, Role::Membershipd, Role::Migration].map(user);
    vec![
        ("SYS", Value::Block(vec![("users", Value::List(vec![user(Role::System)]))])),
        (
            "MEMBERSHIP",
            Value::Block(vec![
                ("jetstream", text("enabled")),
                ("users", Value::List(members.into())),
            ]),
        ),
    ]
}

/// One route a peer (the default pool of three churns with "duplicate route" and cuts heartbeats),
/// and no advertised addresses (peers would dial what they cannot reach).
fn routes(cluster: &ValidatedCluster) -> Block {
    let peers = cluster
        .servers
        .ordinals()
        .map(|ordinal| format!("nats-route://{}:6222", cluster.names.server_host(ordinal)));
    vec![
        ("name", text(&cluster.names.cluster)),
        ("listen", text("0.0.0.0:6222")),
        ("pool_size", Value::Number(-1)),
        ("no_advertise", Value::Switch(true)),
        ("routes", texts(peers)),
    ]
}

fn number(bytes: u64) -> Value {
    Value::Number(i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// Sixteen hex digits: enough to tell configurations apart, short enough for a label.
pub(in crate::cluster) fn digest(text: &str) -> String {
    Sha256::digest(text).iter().take(8).fold(String::new(), |out, byte| out + &hex(*byte))
}

fn hex(byte: u8) -> String {
    format!("{byte:02x}")
}

impl fmt::Display for NatsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
