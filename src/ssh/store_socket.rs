//! Offers a machine's nix store as a socket on this machine.
//!
//! Where sudo needs a password, nix cannot start a program as root itself, because it uses the
//! standard input of the ssh that it starts. So landfall listens on a socket in the session's
//! private directory, and connects each client to a `nix-daemon --stdio` that runs as root on the
//! machine. For nix, the socket is that of an ordinary daemon.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::privilege::{Client, PrivilegeEscalation};

const TICK: Duration = Duration::from_millis(50);
/// Time limit of one client. A copy may take hours; the master notices a dead machine.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A listening socket, removed when this is dropped.
#[derive(Debug)]
pub(super) struct StoreSocket {
    path: PathBuf,
    /// Directory on the machine below which the store is.
    root: Option<String>,
    ending: Arc<AtomicBool>,
}

impl StoreSocket {
    pub(super) fn open(
        path: &Path,
        root: Option<&str>,
        client: Client,
        escalation: PrivilegeEscalation,
    ) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        let ending = Arc::new(AtomicBool::new(false));
        let socket =
            Self { path: path.to_owned(), root: root.map(str::to_owned), ending: ending.clone() };
        let store = root.map(|root| format!("local?root={root}"));
        std::thread::spawn(move || {
            while !ending.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let (client, escalation, store) =
                            (client.clone(), escalation.clone(), store.clone());
                        std::thread::spawn(move || {
                            let mut argv = vec!["nix-daemon", "--stdio"];
                            argv.extend(store.iter().flat_map(|store| ["--store", store]));
                            stream.set_nonblocking(false)?;
                            let cmd = client.root(&escalation, &argv).deadline(LONGEST);
                            // The error is in the log, and nix sees the end of its stream.
                            let _ = cmd.serve(stream);
                            io::Result::Ok(())
                        });
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        std::thread::sleep(TICK);
                    }
                    Err(error) => tracing::error!(%error, "the store's socket"),
                }
            }
        });
        Ok(socket)
    }

    pub(super) fn is_below(&self, root: Option<&str>) -> bool {
        self.root.as_deref() == root
    }
}

impl Drop for StoreSocket {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        let _ = std::fs::remove_file(&self.path);
    }
}
