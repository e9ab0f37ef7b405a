//! A machine's nix store as a socket on this machine.
//!
//! Where sudo asks for a password, nix cannot start a program as root by itself: it
//! owns the standard input of the ssh that it starts. So landfall listens on a socket
//! in the session's private folder, and gives each connection a `nix-daemon --stdio`
//! of root's on the machine. To nix it is a daemon like any other.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::privilege::{Client, PrivilegeEscalation};

const TICK: Duration = Duration::from_millis(50);
/// A copy may take hours; the master notices a machine that is gone.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A socket that is open as long as this lives.
#[derive(Debug)]
pub(super) struct StoreSocket {
    path: PathBuf,
    /// The folder on the machine that the store is below.
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
                            // What went wrong is in the log, and nix sees the end of its stream.
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
