//! A wire on loopback that can be held or cut: a TCP proxy between two servers, or between a client
//! and a server. It runs on a thread of its own, so that a busy test does not slow it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    runtime::{Builder, Runtime},
    sync::watch,
    task::AbortHandle,
};

use super::NatsError;

/// What a wire does with what is sent over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// Bytes pass.
    Open,
    /// Connections stay, bytes wait: a network that drops packets, or a paused peer.
    Held,
    /// Connections are closed and new ones are closed at once.
    Cut,
}

/// The thread that wires run on.
#[derive(Debug)]
pub struct Wiring {
    runtime: Option<Runtime>,
}

impl Wiring {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`NatsError::Io`] when the system has no thread to give.
    pub fn new() -> Result<Arc<Self>, NatsError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("links")
            .enable_all()
            .build()
            .map_err(NatsError::io("starting the thread of the links"))?;
        Ok(Arc::new(Self { runtime: Some(runtime) }))
    }
}

impl Drop for Wiring {
    fn drop(&mut self) {
        // An ordinary drop waits, which an async test may not do.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// One wire; dropping it closes it.
#[derive(Debug)]
pub struct Link {
    port: u16,
    state: watch::Sender<LinkState>,
    task: AbortHandle,
    _wiring: Arc<Wiring>,
}

impl Link {
    /// An open wire that leads to a port on loopback.
    ///
    /// # Errors
    /// [`NatsError::Io`] when no port can be listened on.
    pub fn to(port: u16, wiring: &Arc<Wiring>) -> Result<Self, NatsError> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(NatsError::io("opening a link"))?;
        let own = listener.local_addr().map_err(NatsError::io("opening a link"))?.port();
        let (state, seen) = watch::channel(LinkState::Open);
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let Some(runtime) = &wiring.runtime else {
            return Err(NatsError::io("opening a link")(io::ErrorKind::NotConnected.into()));
        };
        let task = runtime.spawn(accept(listener, target, seen)).abort_handle();
        Ok(Self { port: own, state, task, _wiring: Arc::clone(wiring) })
    }

    /// The port to dial for what is at the other end.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The client address at this end of the wire.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Changes what the wire does, for connections that are there and for new ones.
    pub fn set(&self, state: LinkState) {
        self.state.send_replace(state);
    }

    /// What the wire does now.
    #[must_use]
    pub fn state(&self) -> LinkState {
        *self.state.borrow()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.set(LinkState::Cut);
        self.task.abort();
    }
}

async fn accept(
    listener: std::net::TcpListener,
    target: SocketAddr,
    state: watch::Receiver<LinkState>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        let Ok((near, _)) = listener.accept().await else { continue };
        if *state.borrow() != LinkState::Cut {
            tokio::spawn(carry(near, target, state.clone()));
        }
    }
}

/// Carries one connection until an end closes it or the wire is cut. An error of either end is
/// passed on to the other by closing it, which is all that the test bed needs.
async fn carry(near: TcpStream, target: SocketAddr, state: watch::Receiver<LinkState>) {
    let mut cut = state.clone();
    let carried = async {
        let far = TcpStream::connect(target).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let (near_read, near_write) = near.into_split();
        let (far_read, far_write) = far.into_split();
        tokio::select! {
            ended = pump(near_read, far_write, state.clone()) => ended,
            ended = pump(far_read, near_write, state) => ended,
        }
    };
    tokio::select! {
        _ = cut.wait_for(|state| *state == LinkState::Cut) => {}
        _ = carried => {}
    }
}

/// Moves bytes one way while the wire is open.
async fn pump(
    mut from: OwnedReadHalf,
    mut into: OwnedWriteHalf,
    mut state: watch::Receiver<LinkState>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let open = state.wait_for(|state| *state == LinkState::Open).await;
        if open.map_err(io::Error::other).is_err() {
            return Ok(());
        }
        tokio::select! {
            biased;
            _ = state.changed() => {}
            read = from.read(&mut buffer) => match read? {
                0 => return Ok(()),
                read => into.write_all(&buffer[..read]).await?,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
        time::Duration,
    };

    use super::*;

    /// A wire with both its ends.
    fn wired() -> (Link, TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let link = Link::to(port, &Wiring::new().unwrap()).unwrap();
        let near = TcpStream::connect((Ipv4Addr::LOCALHOST, link.port())).unwrap();
        let (far, _) = listener.accept().unwrap();
        for end in [&near, &far] {
            end.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        }
        (link, near, far)
    }

    #[test]
    fn bytes_pass_both_ways() {
        let (_link, mut near, mut far) = wired();
        let mut byte = [0];
        near.write_all(b"a").unwrap();
        far.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"a");
        far.write_all(b"b").unwrap();
        near.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"b");
    }

    #[test]
    fn a_held_wire_keeps_bytes_until_it_is_open_again() {
        let (link, mut near, mut far) = wired();
        link.set(LinkState::Held);
        near.write_all(b"a").unwrap();
        far.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut byte = [0];
        let waited = far.read(&mut byte).unwrap_err().kind();
        assert!(matches!(waited, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{waited}");
        link.set(LinkState::Open);
        far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        far.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"a");
    }

    #[test]
    fn a_cut_wire_closes_connections_and_refuses_new_ones() {
        let (link, mut near, mut far) = wired();
        link.set(LinkState::Cut);
        let mut byte = [0];
        for end in [&mut near, &mut far] {
            assert_eq!(end.read(&mut byte).unwrap_or(0), 0, "the connection lives on");
        }
        let mut again = TcpStream::connect((Ipv4Addr::LOCALHOST, link.port())).unwrap();
        again.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(again.read(&mut byte).unwrap_or(0), 0, "a new connection lives");
    }
}
