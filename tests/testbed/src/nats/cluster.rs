//! Servers that belong together: their folder, their users, and the wires between them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_nats::{Client, ConnectOptions};
use tempfile::TempDir;

use super::{
    Link, LinkState, NatsError, Role, Users,
    config::{Place, ServerConfig},
    link::Wiring,
    server::{Ports, Server},
};
use crate::tools::{self, Program};

/// How long servers that start together may take until they are of use. They take one to five
/// seconds alone; the rest is for a machine with other work.
const SETTLE: Duration = Duration::from_secs(60);

/// How long one try to connect may take.
const CONNECT: Duration = Duration::from_secs(2);

/// What servers are wanted.
#[derive(Clone)]
pub struct NatsOptions {
    servers: usize,
    prefix: String,
    users: Option<Users>,
    max_file_store: u64,
    debug: bool,
    program: Option<PathBuf>,
}

impl NatsOptions {
    /// This many servers: 1 stands alone, more form a cluster.
    #[must_use]
    pub fn cluster_of(servers: usize) -> Self {
        Self {
            servers,
            prefix: "UNIBUS".to_owned(),
            users: None,
            max_file_store: 4 << 30,
            debug: false,
            program: None,
        }
    }

    /// One server that stands alone.
    #[must_use]
    pub fn single() -> Self {
        Self::cluster_of(1)
    }

    /// The prefix of the buckets that the users may touch; `UNIBUS` otherwise.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// Users other than the product's.
    #[must_use]
    pub fn users(mut self, users: Users) -> Self {
        self.users = Some(users);
        self
    }

    /// How many bytes of streams a server takes; 4 GiB otherwise.
    #[must_use]
    pub fn max_file_store(mut self, bytes: u64) -> Self {
        self.max_file_store = bytes;
        self
    }

    /// Debug lines in the servers' logs.
    #[must_use]
    pub fn debug(mut self) -> Self {
        self.debug = true;
        self
    }

    /// Another server program than the one of the tool cache.
    #[must_use]
    pub fn program(mut self, program: PathBuf) -> Self {
        self.program = Some(program);
        self
    }
}

/// Servers on loopback. They end when this is dropped; when that happens in a failing test, the end
/// of each log is printed.
pub struct Nats {
    servers: Vec<Server>,
    users: Users,
    /// The wire that a server dials to reach a peer, by (from, to).
    routes: BTreeMap<(usize, usize), Link>,
    wiring: Arc<Wiring>,
    folder: TempDir,
}

impl Nats {
    /// Makes everything ready and starts nothing.
    ///
    /// # Errors
    /// [`NatsError`] when the program, ports or files cannot be had.
    pub fn prepare(options: NatsOptions) -> Result<Self, NatsError> {
        let program = match options.program {
            Some(program) => program,
            None => tools::ensure_one(Program::NatsServer)?,
        };
        let users = match options.users {
            Some(users) => users,
            None => Users::of_prefix(&options.prefix)?,
        };
        let folder = tempfile::Builder::new()
            .prefix("nats-")
            .tempdir()
            .map_err(NatsError::io("making a folder for the servers"))?;
        let wiring = Wiring::new()?;
        let ports =
            (0..options.servers).map(|_| Ports::free()).collect::<Result<Vec<_>, NatsError>>()?;
        let routes = wires_between(&ports, &wiring)?;
        let server = |(index, ports): (usize, Ports)| {
            let place = Place {
                name: server_name(index),
                client_port: ports.client.number(),
                monitor_port: ports.monitor.number(),
                route_port: ports.route.number(),
                peers: routes
                    .iter()
                    .filter(|((from, _), _)| *from == index)
                    .map(|(_, link)| link.port())
                    .collect(),
                store: folder.path().join(server_name(index)),
            };
            let config = ServerConfig::new(&place, &users, options.max_file_store, options.debug);
            Server::prepare(index, program.clone(), &place, &config, ports)
        };
        let servers = ports.into_iter().enumerate().map(server).collect::<Result<_, _>>()?;
        Ok(Self { servers, users, routes, wiring, folder })
    }

    /// Starts every server and waits until they are of use.
    ///
    /// # Errors
    /// [`NatsError`] when they do not come up within a minute.
    pub async fn started(options: NatsOptions) -> Result<Self, NatsError> {
        let nats = Self::prepare(options)?;
        for index in 0..nats.size() {
            nats.start(index)?;
        }
        nats.settled(SETTLE).await?;
        Ok(nats)
    }

    /// How many servers there are, running or not.
    #[must_use]
    pub fn size(&self) -> usize {
        self.servers.len()
    }

    /// The name of a server, as it calls itself.
    #[must_use]
    pub fn name(&self, index: usize) -> String {
        server_name(index)
    }

    /// The folder that is gone with the servers, for what belongs to the same test.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The server of this number.
    ///
    /// # Panics
    /// When there is none, as an index does.
    #[must_use]
    pub fn server(&self, index: usize) -> &Server {
        &self.servers[index]
    }

    /// Starts a server that is down, on the store that is there.
    ///
    /// # Errors
    /// [`NatsError::WrongState`] when it is not down.
    pub fn start(&self, index: usize) -> Result<(), NatsError> {
        self.servers[index].start()
    }

    /// Asks a server to end, and waits until it has.
    ///
    /// # Errors
    /// [`NatsError::WrongState`] when it does not run.
    pub async fn stop(&self, index: usize) -> Result<(), NatsError> {
        self.servers[index].stop().await
    }

    /// Ends a server at once (SIGKILL).
    ///
    /// # Errors
    /// [`NatsError::WrongState`] when it is down.
    pub fn kill(&self, index: usize) -> Result<(), NatsError> {
        self.servers[index].kill()
    }

    /// Stops a server in its tracks (SIGSTOP).
    ///
    /// # Errors
    /// [`NatsError::WrongState`] when it does not run.
    pub fn freeze(&self, index: usize) -> Result<(), NatsError> {
        self.servers[index].freeze()
    }

    /// Lets a frozen server go on (SIGCONT).
    ///
    /// # Errors
    /// [`NatsError::WrongState`] when it is not frozen.
    pub fn thaw(&self, index: usize) -> Result<(), NatsError> {
        self.servers[index].thaw()
    }

    /// Takes away the store of a server that is down.
    ///
    /// # Errors
    /// [`NatsError::WrongState`] when it is not down.
    pub fn wipe(&self, index: usize) -> Result<(), NatsError> {
        self.servers[index].wipe()
    }

    /// Parts a server from all its peers; clients still reach it. [`LinkState::Open`] heals it.
    pub fn part(&self, index: usize, state: LinkState) {
        (0..self.size()).for_each(|peer| self.part_two(index, peer, state));
    }

    /// Parts two servers from each other; a third still reaches both.
    pub fn part_two(&self, one: usize, other: usize, state: LinkState) {
        for (ends, link) in &self.routes {
            if *ends == (one, other) || *ends == (other, one) {
                link.set(state);
            }
        }
    }

    /// The client address of a server.
    #[must_use]
    pub fn url(&self, index: usize) -> String {
        local_url(self.servers[index].ports().client.number())
    }

    /// The client addresses of all servers, running or not.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        (0..self.size()).map(|index| self.url(index)).collect()
    }

    /// The monitoring address of a server, `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn monitor_url(&self, index: usize) -> String {
        format!("http://127.0.0.1:{}", self.servers[index].ports().monitor.number())
    }

    /// Wires of one client's own to every server, in their order, that a test may hold or cut.
    ///
    /// # Errors
    /// [`NatsError::Io`] when no port can be listened on.
    pub fn client_links(&self) -> Result<Vec<Link>, NatsError> {
        self.servers
            .iter()
            .map(|server| Link::to(server.ports().client.number(), &self.wiring))
            .collect()
    }

    /// Who may connect.
    #[must_use]
    pub const fn users(&self) -> &Users {
        &self.users
    }

    /// A file with the seed of a role's key, readable by its owner alone.
    ///
    /// # Errors
    /// [`NatsError::Io`] when it cannot be written.
    pub fn seed_file(&self, role: Role) -> Result<PathBuf, NatsError> {
        use std::{fs::Permissions, os::unix::fs::PermissionsExt};
        let path = self.folder.path().join(format!("{}.nk", role.name()));
        std::fs::write(&path, &self.users.get(role).seed)
            .and_then(|()| std::fs::set_permissions(&path, Permissions::from_mode(0o600)))
            .map_err(NatsError::io("writing a seed file"))?;
        Ok(path)
    }

    /// What a client of a role connects with.
    #[must_use]
    pub fn options(&self, role: Role) -> ConnectOptions {
        ConnectOptions::with_nkey(self.users.get(role).seed.clone())
            .name(role.name())
            .custom_inbox_prefix(role.inbox_prefix())
            .connection_timeout(CONNECT)
    }

    /// A client of a role, at any server that takes it.
    ///
    /// # Errors
    /// [`NatsError::Connect`] when none does.
    pub async fn connect(&self, role: Role) -> Result<Client, NatsError> {
        self.connect_at(role, self.urls()).await
    }

    /// A client of a role at one server.
    ///
    /// # Errors
    /// [`NatsError::Connect`] when it does not take it.
    pub async fn connect_to(&self, role: Role, index: usize) -> Result<Client, NatsError> {
        self.connect_at(role, vec![self.url(index)]).await
    }

    async fn connect_at(&self, role: Role, urls: Vec<String>) -> Result<Client, NatsError> {
        self.options(role)
            .connect(urls)
            .await
            .map_err(|source| NatsError::Connect { role: role.name(), source })
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (index, server) in self.servers.iter().enumerate() {
                eprintln!("--- the log of {} ends:\n{}", server_name(index), server.log_tail());
            }
        }
    }
}

fn server_name(index: usize) -> String {
    format!("nats-{index}")
}

fn local_url(port: u16) -> String {
    format!("nats://127.0.0.1:{port}")
}

/// A wire for each ordered pair of servers, so that any pair can be parted.
fn wires_between(
    ports: &[Ports],
    wiring: &Arc<Wiring>,
) -> Result<BTreeMap<(usize, usize), Link>, NatsError> {
    let pairs = (0..ports.len())
        .flat_map(|from| (0..ports.len()).map(move |to| (from, to)))
        .filter(|(from, to)| from != to);
    pairs.map(|(from, to)| Ok(((from, to), Link::to(ports[to].route.number(), wiring)?))).collect()
}
