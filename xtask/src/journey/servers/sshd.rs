//! A real sshd on loopback.
//!
//! Invariant: it listens on 127.0.0.1 alone and takes keys only, and its host key can be
//! known to clients before they connect, so nobody learns to skip the check.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{quiet, tethered, wait_until};

const PROGRAM: &str = "/usr/sbin/sshd";
const START_DEADLINE: Duration = Duration::from_secs(30);

/// A running server; dropping it ends it.
pub(crate) struct Sshd {
    dir: PathBuf,
    port: u16,
    server: Child,
}

impl Sshd {
    /// Returns the path of the host key's public half.
    pub(crate) fn public_key_file(&self) -> PathBuf {
        self.dir.join("host_key.pub")
    }

    /// Starts a server with a new host key at this port, with its files in `dir`. It lets
    /// the holders of `keys` (public keys, one a line) in; `more` are further settings.
    pub(crate) fn start(dir: &Path, port: u16, keys: &str, more: &str) -> Result<Sshd> {
        fs::create_dir_all(dir)?;
        // sshd refuses keys in a folder that others may write to.
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
        fs::write(dir.join("authorized_keys"), keys)?;
        let host_key = dir.join("host_key");
        let _ = fs::remove_file(&host_key);
        quiet(
            Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
                .arg(&host_key),
        )?;
        fs::write(dir.join("sshd_config"), settings(dir, port, more))?;
        make_privilege_separation_folder()?;
        let server = tethered(PROGRAM)
            .args(["-D", "-f"])
            .arg(dir.join("sshd_config"))
            .arg("-E")
            .arg(dir.join("sshd.log"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start sshd")?;
        let sshd = Sshd { dir: dir.to_path_buf(), port, server };
        if !wait_until(START_DEADLINE, || TcpStream::connect(("127.0.0.1", port)).is_ok())? {
            bail!("the sshd in {} does not listen; it said:\n{}", dir.display(), sshd.log());
        }
        Ok(sshd)
    }

    /// Returns the port on loopback that it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns its host key, as `algorithm base64`.
    fn public_key(&self) -> Result<String> {
        let public = fs::read_to_string(self.public_key_file())?;
        Ok(public.split(' ').take(2).collect::<Vec<_>>().join(" ").trim().to_string())
    }

    /// Returns the line of a known_hosts file that names it.
    pub(crate) fn known_hosts_line(&self) -> Result<String> {
        Ok(format!("[127.0.0.1]:{} {}\n", self.port, self.public_key()?))
    }

    /// Returns what it has written to its log.
    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.dir.join("sshd.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn settings(dir: &Path, port: u16, more: &str) -> String {
    let at = |name: &str| dir.join(name).display().to_string();
    format!(
        "ListenAddress 127.0.0.1\n\
         Port {port}\n\
         HostKey {}\n\
         AuthorizedKeysFile {}\n\
         PidFile none\n\
         AuthenticationMethods publickey\n\
         PermitRootLogin prohibit-password\n\
         UsePAM no\n\
         # The folders above this one belong to whoever runs the lab.\n\
         StrictModes no\n\
         MaxStartups 100\n\
         {more}\n",
        at("host_key"),
        at("authorized_keys"),
    )
}

/// Makes the empty folder that sshd wants when it is root's, and that systemd otherwise makes
/// at boot.
fn make_privilege_separation_folder() -> Result<()> {
    let dir = Path::new("/run/sshd");
    if rustix::process::geteuid().is_root() && !dir.exists() {
        fs::create_dir_all(dir).context("cannot make /run/sshd, which sshd needs")?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Finds a port on loopback that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port is free on loopback")?;
    Ok(listener.local_addr()?.port())
}
