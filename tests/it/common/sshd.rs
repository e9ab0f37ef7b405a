//! A real sshd on loopback, for as long as a test runs.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use landfall::ssh::{Endpoint, HostKey};
use tempfile::TempDir;

/// A host key pair in a folder of its own.
pub struct KeyPair {
    pub private: PathBuf,
    pub public: HostKey,
}

/// Makes a key with ssh-keygen.
pub fn keygen(dir: &Path, name: &str, kind: &str) -> KeyPair {
    let private = dir.join(name);
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", "", "-C", name, "-f"])
        .arg(&private)
        .status()
        .unwrap();
    assert!(status.success());
    let public = fs::read_to_string(private.with_extension("pub")).unwrap().parse().unwrap();
    KeyPair { private, public }
}

/// A running sshd that lets the current user in with one key.
pub struct Sshd {
    pub dir: TempDir,
    pub port: u16,
    pub host_key: HostKey,
    /// The key that may log in.
    pub user_key: PathBuf,
    process: Child,
}

impl Sshd {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = keygen(dir.path(), "host", "ed25519");
        Self::start_with(dir, &[host], "")
    }

    /// With these host keys (the first is `host_key`) and more lines for sshd_config.
    pub fn start_with(dir: TempDir, host_keys: &[KeyPair], more: &str) -> Self {
        Self::start_at(dir, free_port(), host_keys, more)
    }

    pub fn start_at(dir: TempDir, port: u16, host_keys: &[KeyPair], more: &str) -> Self {
        let user = if dir.path().join("user").exists() {
            dir.path().join("user")
        } else {
            keygen(dir.path(), "user", "ed25519").private
        };
        let config = dir.path().join("sshd_config");
        let keys: String =
            host_keys.iter().map(|key| format!("HostKey {}\n", key.private.display())).collect();
        fs::write(
            &config,
            format!(
                "{more}\nPort {port}\nListenAddress 127.0.0.1\n{keys}\
                 AuthorizedKeysFile {}.pub\nStrictModes no\nUsePAM no\n\
                 PasswordAuthentication no\nKbdInteractiveAuthentication no\n\
                 PermitRootLogin prohibit-password\nPidFile none\nMaxStartups 100\n\
                 Subsystem sftp internal-sftp\n",
                user.display()
            ),
        )
        .unwrap();
        let process = spawn(&config, dir.path());
        let server =
            Self { dir, port, host_key: host_keys[0].public.clone(), user_key: user, process };
        server.wait_until_it_listens();
        server
    }

    fn wait_until_it_listens(&self) {
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < until, "sshd does not listen: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// How a client reaches it.
    pub fn endpoint(&self) -> Endpoint {
        let mut endpoint: Endpoint = format!("127.0.0.1:{}", self.port).parse().unwrap();
        endpoint.user = Some(user_name());
        endpoint.identity_file = Some(self.user_key.clone());
        endpoint
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// How often somebody tried to log in; of a server with `LogLevel DEBUG1`.
    pub fn attempts(&self) -> usize {
        self.log().matches("userauth-request").count()
    }

    /// Ends the server and its connections, and keeps its folder.
    pub fn stop(mut self) -> TempDir {
        end(&mut self.process);
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// Gives sshd its folder for privilege separation, and the machine another /etc where
/// there is one.
const MACHINE: &str = r#"set -e
if [ ! -d /run/sshd ]; then mount -t tmpfs tmpfs /run; mkdir -m 0755 /run/sshd; fi
if [ -d "$2" ]; then mount --bind "$2" /etc; fi
exec "$0" -D -e -f "$1""#;

/// Starts sshd; as root in a mount namespace of its own, so that the host stays as it was.
fn spawn(config: &Path, dir: &Path) -> Child {
    let log = fs::File::create(dir.join("log")).unwrap();
    let sshd = program("sshd");
    let mut command = if is_root() {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "sh", "-c", MACHINE]);
        command.arg(sshd).arg(config).arg(dir.join("etc"));
        command
    } else {
        let mut command = Command::new(sshd);
        command.args(["-D", "-e", "-f"]).arg(config);
        command
    };
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// Ends an sshd and the processes of its connections.
fn end(process: &mut Child) {
    for child in descendants(process.id()) {
        kill(child);
    }
    let _ = process.kill();
    let _ = process.wait();
}

fn kill(pid: u32) {
    use rustix::process::{Pid, Signal, kill_process};
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn descendants(pid: u32) -> Vec<u32> {
    let children =
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children
        .split_ascii_whitespace()
        .filter_map(|child| child.parse().ok())
        .flat_map(|child: u32| descendants(child).into_iter().chain([child]))
        .collect()
}

/// sshd wants to be started by its absolute path.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/run/current-system/sw/bin".into()])
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed"))
}

pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub fn user_name() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
