//! The configuration of one server, in the words of nats-server's own configuration file. Values
//! that hold for every test server are fixed here, with their reasons; nothing is read or written.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Serialize;

use super::users::{Permissions, Role, Users};

/// The account of the servers themselves: only the operator's second user is in it.
const SYSTEM_ACCOUNT: &str = "SYS";

/// The account that holds the buckets.
const MEMBERSHIP_ACCOUNT: &str = "MEMBERSHIP";

/// One server's configuration file.
#[derive(Debug, Serialize)]
pub struct ServerConfig {
    server_name: String,
    host: &'static str,
    port: u16,
    /// The address of the monitoring port.
    http: String,
    jetstream: JetStream,
    /// Absent for a server that stands alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<Cluster>,
    accounts: BTreeMap<&'static str, Account>,
    system_account: &'static str,
    debug: bool,
}

#[derive(Debug, Serialize)]
struct JetStream {
    store_dir: PathBuf,
    /// `always`: an acknowledged write has reached the disk. The default may lose two minutes.
    sync_interval: &'static str,
    /// Bytes; a text with a unit is refused by the server's JSON reader.
    max_file_store: u64,
    max_memory_store: u64,
}

/// Where nobody listens: a server that dials it for a peer's sake gives up at once.
const NOWHERE: &str = "127.0.0.1:1";

#[derive(Debug, Serialize)]
struct Cluster {
    name: &'static str,
    host: &'static str,
    port: u16,
    routes: Vec<String>,
    /// -1: one route a peer. The default pool of three churns on a small cluster.
    pool_size: i8,
    /// Clients would be told of servers that they were not given.
    no_advertise: bool,
    /// What a peer tells the third server, which would dial it past the links: [`NOWHERE`].
    advertise: &'static str,
}

#[derive(Debug, Serialize)]
struct Account {
    #[serde(skip_serializing_if = "Option::is_none")]
    jetstream: Option<&'static str>,
    users: Vec<NkeyUser>,
}

#[derive(Debug, Serialize)]
struct NkeyUser {
    nkey: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<Permissions>,
}

/// Where a server is among others.
#[derive(Debug, Clone)]
pub struct Place {
    /// The server's name; its place in every Raft group comes from it.
    pub name: String,
    /// The port for clients.
    pub client_port: u16,
    /// The port for monitoring over HTTP.
    pub monitor_port: u16,
    /// The port for other servers.
    pub route_port: u16,
    /// The ports that this server dials to reach its peers; empty when it stands alone.
    pub peers: Vec<u16>,
    /// The folder for streams.
    pub store: PathBuf,
}

impl ServerConfig {
    /// The configuration of a server at a place, for these users.
    #[must_use]
    pub fn new(place: &Place, users: &Users, max_file_store: u64, debug: bool) -> Self {
        Self {
            server_name: place.name.clone(),
            host: "127.0.0.1",
            port: place.client_port,
            http: format!("127.0.0.1:{}", place.monitor_port),
            jetstream: JetStream {
                store_dir: place.store.clone(),
                sync_interval: "always",
                max_file_store,
                max_memory_store: 0,
            },
            cluster: (!place.peers.is_empty()).then(|| Cluster {
                name: "testbed",
                host: "127.0.0.1",
                port: place.route_port,
                routes: place
                    .peers
                    .iter()
                    .map(|port| format!("nats-route://127.0.0.1:{port}"))
                    .collect(),
                pool_size: -1,
                no_advertise: true,
                advertise: NOWHERE,
            }),
            accounts: accounts(users),
            system_account: SYSTEM_ACCOUNT,
            debug,
        }
    }
}

fn accounts(users: &Users) -> BTreeMap<&'static str, Account> {
    let of = |wanted: &[Role]| {
        users
            .iter()
            .filter(|user| wanted.contains(&user.role))
            .map(|user| NkeyUser {
                nkey: user.public_key.clone(),
                permissions: user.permissions.clone(),
            })
            .collect()
    };
    let system = Account { jetstream: None, users: of(&[Role::System]) };
    let membership = Account {
        jetstream: Some("enabled"),
        users: of(&[Role::Operator, Role::Membershipd, Role::Migration]),
    };
    BTreeMap::from([(SYSTEM_ACCOUNT, system), (MEMBERSHIP_ACCOUNT, membership)])
}
