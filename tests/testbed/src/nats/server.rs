//! One nats-server process: it is started, stopped, killed, frozen and wiped, and it never outlives
//! its owner. Who it talks to is decided elsewhere.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    NatsError,
    config::{Place, ServerConfig},
    ports::Port,
};

/// A server that was asked to stop has this long before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// How often a stopping server is looked at.
const POLL: Duration = Duration::from_millis(20);

/// How much of a log a failure shows.
const TAIL_LINES: usize = 30;

#[derive(Debug)]
enum Life {
    Down,
    Running(Child),
    Frozen(Child),
}

impl Life {
    const fn name(&self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Running(_) => "running",
            Self::Frozen(_) => "frozen",
        }
    }
}

/// The ports of one server, held for as long as it may be started again.
#[derive(Debug)]
pub struct Ports {
    /// For clients.
    pub client: Port,
    /// For other servers.
    pub route: Port,
    /// For monitoring.
    pub monitor: Port,
}

impl Ports {
    /// Three free ports.
    ///
    /// # Errors
    /// [`NatsError::NoPort`] when there are none.
    pub fn free() -> Result<Self, NatsError> {
        Ok(Self { client: Port::free()?, route: Port::free()?, monitor: Port::free()? })
    }
}

/// One server, running or not.
#[derive(Debug)]
pub struct Server {
    index: usize,
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    store: PathBuf,
    ports: Ports,
    life: Mutex<Life>,
}

impl Server {
    /// Writes the configuration of a server beside its store. Starts nothing.
    ///
    /// # Errors
    /// [`NatsError`] when a file cannot be written.
    pub fn prepare(
        index: usize,
        program: PathBuf,
        place: &Place,
        config: &ServerConfig,
        ports: Ports,
    ) -> Result<Self, NatsError> {
        let path = place.store.with_extension("json");
        let text = serde_json::to_vec_pretty(config)
            .map_err(|source| NatsError::Config { path: path.clone(), source })?;
        fs::write(&path, text).map_err(NatsError::io("writing a server's configuration"))?;
        Ok(Self {
            index,
            program,
            config: path,
            log: place.store.with_extension("log"),
            store: place.store.clone(),
            ports,
            life: Mutex::new(Life::Down),
        })
    }

    /// The ports.
    #[must_use]
    pub const fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Whether the process runs and is not frozen.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(*self.life(), Life::Running(_))
    }

    /// The last lines of the log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Starts the process on the store that is there.
    ///
    /// # Errors
    /// [`NatsError::WrongState`] when it is not down.
    pub fn start(&self) -> Result<(), NatsError> {
        let mut life = self.life();
        if !matches!(*life, Life::Down) {
            return Err(self.wrong("start", &life));
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(NatsError::io("opening a server's log"))?;
        let errors = log.try_clone().map_err(NatsError::io("opening a server's log"))?;
        let child = Command::new(&self.program)
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(NatsError::io(format!("starting {}", self.program.display())))?;
        *life = Life::Running(child);
        Ok(())
    }

    /// Asks the process to end and waits until it has; it is killed when it does not.
    ///
    /// # Errors
    /// [`NatsError::WrongState`] when it is down or frozen.
    pub async fn stop(&self) -> Result<(), NatsError> {
        let mut child = {
            let mut life = self.life();
            match std::mem::replace(&mut *life, Life::Down) {
                Life::Running(child) => child,
                other @ (Life::Down | Life::Frozen(_)) => {
                    *life = other;
                    return Err(self.wrong("stop", &life));
                }
            }
        };
        signal(&child, Signal::TERM)?;
        let end = Instant::now() + STOP_PATIENCE;
        while exit_of(&mut child)?.is_none() {
            if Instant::now() > end {
                return kill(&mut child);
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Ends the process at once, as a crash would; frozen or not.
    ///
    /// # Errors
    /// [`NatsError::WrongState`] when it is down.
    pub fn kill(&self) -> Result<(), NatsError> {
        let mut life = self.life();
        match std::mem::replace(&mut *life, Life::Down) {
            Life::Running(mut child) | Life::Frozen(mut child) => kill(&mut child),
            Life::Down => Err(self.wrong("be killed", &life)),
        }
    }

    /// Stops the process in its tracks; its connections stay.
    ///
    /// # Errors
    /// [`NatsError::WrongState`] when it does not run.
    pub fn freeze(&self) -> Result<(), NatsError> {
        let mut life = self.life();
        match std::mem::replace(&mut *life, Life::Down) {
            Life::Running(child) => {
                signal(&child, Signal::STOP)?;
                let still = wait_until_still(child.id());
                *life = Life::Frozen(child);
                still
            }
            other @ (Life::Down | Life::Frozen(_)) => {
                *life = other;
                Err(self.wrong("be frozen", &life))
            }
        }
    }

    /// Lets a frozen process go on.
    ///
    /// # Errors
    /// [`NatsError::WrongState`] when it is not frozen.
    pub fn thaw(&self) -> Result<(), NatsError> {
        let mut life = self.life();
        match std::mem::replace(&mut *life, Life::Down) {
            Life::Frozen(child) => {
                signal(&child, Signal::CONT)?;
                *life = Life::Running(child);
                Ok(())
            }
            other @ (Life::Down | Life::Running(_)) => {
                *life = other;
                Err(self.wrong("be thawed", &life))
            }
        }
    }

    /// Takes away the store of a server that is down: a node that lost its disk.
    ///
    /// # Errors
    /// [`NatsError::WrongState`] when it is not down.
    pub fn wipe(&self) -> Result<(), NatsError> {
        let life = self.life();
        if !matches!(*life, Life::Down) {
            return Err(self.wrong("be wiped", &life));
        }
        match fs::remove_dir_all(&self.store) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(NatsError::io("wiping a store")(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Fails when a server that should run has ended by itself.
    ///
    /// # Errors
    /// [`NatsError::Died`] with the end of its log.
    pub fn check_alive(&self) -> Result<(), NatsError> {
        let mut life = self.life();
        let Life::Running(child) = &mut *life else { return Ok(()) };
        match exit_of(child)? {
            None => Ok(()),
            Some(status) => Err(NatsError::Died {
                server: self.index,
                status: status.to_string(),
                log: self.log_tail(),
            }),
        }
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        // A test that panicked with the lock held must still be able to clean up.
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrong(&self, operation: &'static str, life: &Life) -> NatsError {
        NatsError::WrongState { server: self.index, operation, state: life.name() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Life::Running(child) | Life::Frozen(child) = &mut *self.life() {
            // It fails only for a process that is gone already, which is what is wanted.
            let _ = kill(child);
        }
    }
}

fn signal(child: &Child, signal: Signal) -> Result<(), NatsError> {
    kill_process(Pid::from_child(child), signal)
        .map_err(|error| NatsError::io("signalling a server")(error.into()))
}

/// SIGKILL also ends a frozen process.
fn kill(child: &mut Child) -> Result<(), NatsError> {
    child.kill().map_err(NatsError::io("killing a server"))?;
    child.wait().map(|_| ()).map_err(NatsError::io("collecting a killed server"))
}

fn exit_of(child: &mut Child) -> Result<Option<ExitStatus>, NatsError> {
    child.try_wait().map_err(NatsError::io("looking at a server's process"))
}

/// A signal takes effect thread by thread: on a loaded machine a server still answers for a while.
fn wait_until_still(id: u32) -> Result<(), NatsError> {
    let end = Instant::now() + STOP_PATIENCE;
    while !is_still(id).map_err(NatsError::io("looking at a frozen server"))? {
        if Instant::now() >= end {
            let error = std::io::Error::from(std::io::ErrorKind::TimedOut);
            return Err(NatsError::io("freezing a server")(error));
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Whether every thread of a process is stopped: its state, after the name in parentheses, is `T`.
fn is_still(id: u32) -> std::io::Result<bool> {
    for thread in fs::read_dir(format!("/proc/{id}/task"))? {
        let stat = fs::read_to_string(thread?.path().join("stat"))?;
        if !stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T')) {
            return Ok(false);
        }
    }
    Ok(true)
}
