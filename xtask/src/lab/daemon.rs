//! The nix-daemon that runs the lab's builders.
//!
//! Builders run as root without nix's sandbox, and one that writes through a symlink it
//! unpacked could overwrite a file of the host. So builds happen in a daemon whose
//! namespaces show the host read-only, without network and with processes of their own;
//! everything in the lab talks to it through `NIX_REMOTE`.
//!
//! One daemon serves one `lab enter`, and none outlives it, however that ends.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{environment, namespace, nix_bundle};
use crate::cache::Cache;
use crate::process::{own_program, tethered};

const SOCKETS: &str = "var/nix/daemon-socket";
const START_DEADLINE: Duration = Duration::from_secs(20);

/// A running daemon; dropping it ends it and its builders.
pub(crate) struct Daemon {
    unshare: Child,
    socket: PathBuf,
    name: String,
}

impl Daemon {
    /// Starts a daemon and waits until it listens.
    pub(crate) fn start(cache: &Cache) -> Result<Daemon> {
        let name = format!("lab-{}", std::process::id());
        let dir = cache.path("nix").join(SOCKETS);
        fs::create_dir_all(&dir)?;
        let socket = dir.join(&name);
        if socket.exists() {
            fs::remove_file(&socket)?;
        }
        fs::create_dir_all(cache.path("log"))?;
        let log = fs::File::create(cache.path("log/nix-daemon.log"))?;
        let unshare = tethered("unshare")
            .args(environment::namespace_arguments())
            .args(["--net", "--pid", "--fork", "--kill-child", "--"])
            .arg(own_program()?)
            .args(["lab", "inside", "builders", "--socket", &name])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C at the terminal is for the command; the daemon ends after it.
            .process_group(0)
            .spawn()
            .context("cannot start the builders' daemon")?;
        let mut daemon = Daemon { unshare, socket, name };
        daemon.wait_until_listening(cache)?;
        Ok(daemon)
    }

    fn wait_until_listening(&mut self, cache: &Cache) -> Result<()> {
        let end = Instant::now() + START_DEADLINE;
        while !self.socket.exists() {
            let ended = self.unshare.try_wait()?.is_some();
            if ended || Instant::now() > end {
                let log = cache.path("log/nix-daemon.log");
                let said = fs::read_to_string(&log).unwrap_or_default();
                bail!("the builders' daemon does not start; it said:\n{said}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Gives what `NIX_REMOTE` must be for clients.
    pub(crate) fn remote(&self) -> String {
        format!("unix:///nix/{SOCKETS}/{}", self.name)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // This is `unshare --kill-child`: its end takes the daemon and all builders with it.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        let _ = fs::remove_file(&self.socket);
    }
}

/// Makes the daemon, in its namespaces: hides the host, then becomes nix-daemon.
pub(crate) fn inside(cache: &Cache, socket: &str) -> Result<ExitCode> {
    environment::make_store_folders(cache)?;
    namespace::read_only(&cache.path("root"), &cache.path("nix"), cache.root())?;
    let error = Command::new(nix_bundle::prefix(cache).join("bin/nix-daemon"))
        .envs(environment::environment(cache))
        .env("NIX_DAEMON_SOCKET_PATH", format!("/nix/{SOCKETS}/{socket}"))
        .env_remove("NIX_REMOTE")
        .exec();
    Err(error).context("cannot run nix-daemon")
}
