//! One OpenSSH master connection to one machine.
//!
//! The master is opened once, and may prompt a person for a passphrase; everything else goes
//! through its control socket and never prompts.
//!
//! Invariant: all connections are pinned to the same host key. When the master has ended (a
//! reboot, a broken line), a later command connects anew with the same options, or fails.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use super::endpoint::ALIAS;
use super::masters::{MasterNote, REQUEST, request};
use super::options::{
    asking, check, config_path, patience, pinned, plain, reach, unanswered, write_pin,
};
use super::privilege;
use super::privilege::{Client, PasswordProgram, Privilege, PrivilegeEscalation};
use super::store_socket::StoreSocket;
use super::{Endpoint, HostKey, SshError, compression, remote_command, scan_key};
use crate::exec::Cmd;
use crate::secret::{Secret, private_temp_dir};

/// Longest path of a control socket, in bytes. The address of a unix socket has 108 bytes; ssh
/// binds to the path with a dot and 16 characters appended, and a NUL ends it.
const LONGEST_SOCKET: usize = 108 - 17 - 1;
/// Name of the control socket.
const SOCKET: &str = "ssh";
/// What `mkdtemp` and the socket's name append to the directory.
const SOCKET_NAME: &str = "/landfall-XXXXXX/ssh";
/// Time limit of commands on the machine that set none.
const COMMAND: Duration = Duration::from_secs(15 * 60);
/// Idle time after which the master ends, in case that landfall was killed.
const PERSIST: &str = "4h";

/// An open connection to one machine.
#[derive(Debug)]
pub struct Session {
    endpoint: Endpoint,
    key: HostKey,
    /// Taken back when the master has ended.
    _note: MasterNote,
    // Dropped before the directory that contains the sockets.
    stores: Mutex<Vec<StoreSocket>>,
    dir: TempDir,
    escalation: PrivilegeEscalation,
}

impl Session {
    /// Logs in at `endpoint`, provided that the machine presents exactly the key `trusted`.
    ///
    /// The control socket is in `run_dir` where its path is short enough, else in a private
    /// temporary directory.
    pub fn open(
        endpoint: &Endpoint,
        trusted: &HostKey,
        run_dir: &Path,
        deadline: Duration,
    ) -> Result<Self, SshError> {
        check(&endpoint.options)?;
        let dir = socket_dir(run_dir)?;
        write_pin(&dir.path().join("known_hosts"), trusted)?;
        let note = MasterNote::write(run_dir, &dir.path().join(SOCKET))
            .map_err(|source| SshError::Io { doing: "noting the connection", source })?;
        let mut session = Self {
            endpoint: endpoint.clone(),
            key: trusted.clone(),
            _note: note,
            stores: Mutex::default(),
            dir,
            escalation: PrivilegeEscalation::None,
        };
        session.link_identity()?;
        session.start_master(deadline)?;
        session.escalation = session.detect_escalation(deadline)?;
        Ok(session)
    }

    fn start_master(&self, deadline: Duration) -> Result<(), SshError> {
        let cmd = Cmd::new("ssh")
            .args(["-f", "-N", "-oControlMaster=yes"])
            .arg(format!("-oControlPersist={PERSIST}"))
            .args(self.options(&self.endpoint))
            // Only the master's option counts; those of its clients have no effect.
            .args(compression::option(&self.endpoint));
        let started = asking(&self.endpoint, cmd)
            .args(["--", &self.endpoint.host])
            .deadline(patience(&self.endpoint, deadline))
            .run();
        match started {
            Ok(_) => Ok(()),
            Err(error) => {
                let error = unanswered(&self.endpoint, SshError::classify(&self.to(), error));
                Err(self.explain(error, deadline))
            }
        }
    }

    /// Adds the presented key to the error of a failed check, which takes another connection.
    fn explain(&self, error: SshError, deadline: Duration) -> SshError {
        if !matches!(error, SshError::JumpKey { .. } | SshError::NoSuchKey { .. }) {
            return error;
        }
        let algorithms = matches!(error, SshError::JumpKey { .. }).then(|| self.key.negotiation());
        match scan_key(&self.endpoint, deadline, algorithms) {
            Ok(offered) if offered != self.key => {
                SshError::KeyMismatch { to: self.to(), expected: vec![self.key.clone()], offered }
            }
            Ok(_) => error,
            Err(error) => error,
        }
    }

    fn detect_escalation(&self, deadline: Duration) -> Result<PrivilegeEscalation, SshError> {
        let probe = self.run(&["sh", "-c", privilege::PROBE]).deadline(deadline).read();
        Ok(PrivilegeEscalation::parse(
            &probe.map_err(|error| SshError::classify(&self.to(), error))?,
        ))
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns the key that this session is pinned to.
    pub fn key(&self) -> &HostKey {
        &self.key
    }

    pub fn privilege(&self) -> Privilege {
        self.escalation.privilege()
    }

    /// Says whether [`Session::root`] can work.
    pub fn can_be_root(&self) -> bool {
        self.privilege() != Privilege::None
    }

    /// Returns the program that needs a password which this session does not have.
    pub fn asks_for_password(&self) -> Option<PasswordProgram> {
        match self.escalation {
            PrivilegeEscalation::Asks(program) => Some(program),
            _ => None,
        }
    }

    /// Checks `password` with sudo, and uses it for root's commands from now on. The inner error
    /// is sudo's message.
    pub fn use_sudo_password(&mut self, password: Secret) -> Result<Result<(), String>, SshError> {
        let answer = self.client().try_password(&password)?;
        if answer.is_ok() {
            self.escalation = PrivilegeEscalation::SudoPassword(password);
        }
        Ok(answer)
    }

    /// Returns `argv` as a command of the login user, quoted word by word.
    pub fn run(&self, argv: &[&str]) -> Cmd {
        self.client().run(argv)
    }

    /// Returns `argv` as a command of root. Where that is not allowed, sudo's own message says
    /// so.
    pub fn root(&self, argv: &[&str]) -> Cmd {
        self.client().root(&self.escalation, argv)
    }

    /// Returns a shell script with the arguments `args`. It runs as a whole or not at all, with
    /// an empty standard input.
    pub fn script(&self, script: &str, args: &[&str]) -> Cmd {
        self.run(&shell(args)).input(whole(script))
    }

    /// Returns a script as with [`Session::script`], run as root.
    pub fn root_script(&self, script: &str, args: &[&str]) -> Cmd {
        self.root(&shell(args)).input(whole(script))
    }

    /// Returns a script whose standard input is free for a secret ([`Cmd::stdin`]) or a file. The
    /// script itself is visible in the machine's list of processes.
    pub fn script_with_stdin(&self, script: &str, args: &[&str]) -> Cmd {
        self.run(&[&["sh", "-c", script, "sh"], args].concat())
    }

    /// Returns a script as with [`Session::script_with_stdin`], run as root.
    pub fn root_script_with_stdin(&self, script: &str, args: &[&str]) -> Cmd {
        self.root(&[&["sh", "-c", script, "sh"], args].concat())
    }

    /// Returns a command with a terminal for a person, for [`Cmd::exec`].
    pub fn interactive(&self, argv: &[&str]) -> Cmd {
        let cmd = self.client().cmd().args(["-oRequestTTY=auto", "--", &self.endpoint.host]);
        if argv.is_empty() { cmd } else { cmd.arg(remote_command(argv)) }
    }

    /// Returns the URL of the machine's nix store, or of the store below `root` there; valid as
    /// long as the session lives.
    pub fn nix_store_url(&self, root: Option<&str>) -> String {
        // Only root can add paths without signatures, or write to a store below another root.
        let Some(prefix) = self.escalation.prefix() else {
            return format!("unix://{}", self.store_socket(root).display());
        };
        let user = self.endpoint.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let mut settings = Vec::new();
        if let Some(root) = root {
            settings.push(format!("remote-store={}", percent(&format!("local?root={root}"))));
        }
        if !prefix.is_empty() {
            settings.push(format!("remote-program={}", percent(&format!("{prefix}nix-daemon"))));
        }
        let query = if settings.is_empty() { "" } else { "?" };
        format!("ssh-ng://{user}{}{query}{}", self.store_host(), settings.join("&"))
    }

    /// Returns the host for a store URL. Versions of nix differ in how they parse an IPv6 zone,
    /// so such an address is replaced by an alias, which `NIX_SSHOPTS` resolves.
    fn store_host(&self) -> String {
        if self.has_zone() { ALIAS.to_owned() } else { self.endpoint.url_host() }
    }

    fn has_zone(&self) -> bool {
        self.endpoint.host.contains('%')
    }

    fn store_socket(&self, root: Option<&str>) -> PathBuf {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let place = |index: usize| self.dir.path().join(format!("nix{index}"));
        if let Some(index) = stores.iter().position(|store| store.is_below(root)) {
            return place(index);
        }
        let path = place(stores.len());
        match StoreSocket::open(&path, root, self.client(), self.escalation.clone()) {
            Ok(store) => stores.push(store),
            // nix then reports that it cannot connect.
            Err(error) => tracing::error!(%error, path = %path.display(), "a store's socket"),
        }
        path
    }

    /// Returns the value of `NIX_SSHOPTS` with which nix uses this session.
    ///
    /// Older versions of nix split it at spaces, ignoring quotes, so user options with spaces are
    /// left out: the master has them.
    pub fn nix_ssh_opts(&self) -> String {
        let plain =
            |arg: &String| !arg.contains(|c: char| c.is_whitespace() || "'\"\\".contains(c));
        let options = self.client_options(&self.linked_endpoint());
        let mut options: Vec<String> = options.into_iter().filter(plain).collect();
        if self.has_zone() {
            options.push(format!("-oHostName={}", self.endpoint.host.replace('%', "%%")));
        }
        options.join(" ")
    }

    /// Says whether the master runs. It notices a dead machine after about a minute.
    pub fn alive(&self) -> bool {
        let answer = request("check", &self.socket(), &self.endpoint.host);
        answer.is_ok_and(|output| output.status.success())
    }

    /// Ends the master, as dropping the session does.
    pub fn close(self) {}

    fn client(&self) -> Client {
        Client {
            options: self.client_options(&self.endpoint),
            host: self.endpoint.host.clone(),
            name: self.to(),
            deadline: COMMAND,
        }
    }

    fn client_options(&self, endpoint: &Endpoint) -> Vec<String> {
        let mut options = vec!["-oControlMaster=no".to_owned(), "-oBatchMode=yes".to_owned()];
        options.extend(self.options(endpoint));
        options
    }

    fn options(&self, endpoint: &Endpoint) -> Vec<String> {
        let known_hosts = self.dir.path().join("known_hosts");
        let mut options = pinned(&known_hosts, &self.key);
        options.push(format!("-oControlPath={}", config_path(&self.socket())));
        options.extend(reach(endpoint));
        options.extend(["-oServerAliveInterval=15".into(), "-oServerAliveCountMax=4".into()]);
        options.extend(plain(REQUEST));
        options
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join(SOCKET)
    }

    /// Links the key's file to a path that `NIX_SSHOPTS` can contain.
    fn link_identity(&self) -> Result<(), SshError> {
        let Some(file) = &self.endpoint.identity_file else { return Ok(()) };
        let link = |from: &Path, name: &str| {
            std::path::absolute(from)
                .and_then(|from| std::os::unix::fs::symlink(from, self.dir.path().join(name)))
                .map_err(|source| SshError::Io { doing: "linking the identity file", source })
        };
        link(file, "identity")?;
        // ssh looks for these beside the key.
        for end in [".pub", "-cert.pub"] {
            let mut beside = file.clone().into_os_string();
            beside.push(end);
            if Path::new(&beside).exists() {
                link(Path::new(&beside), &format!("identity{end}"))?;
            }
        }
        Ok(())
    }

    fn linked_endpoint(&self) -> Endpoint {
        let linked = self.endpoint.identity_file.as_ref().map(|_| self.dir.path().join("identity"));
        Endpoint { identity_file: linked, ..self.endpoint.clone() }
    }

    fn to(&self) -> String {
        self.endpoint.to_string()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A master that ended by itself needs no end.
        let _ = request("exit", &self.socket(), &self.endpoint.host);
    }
}

fn shell<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [&["sh", "-s", "--"], args].concat()
}

/// Wraps a script in a group, which the shell reads to its end before it runs anything: a broken
/// connection runs no half of it, and no command in it can read the rest as its input.
fn whole(script: &str) -> String {
    format!("{{\n{script}\n}} </dev/null\n")
}

/// Percent-encodes a value for a store URL's query.
fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// Creates a private directory whose path is short and plain enough for sockets and options.
pub(super) fn socket_dir(run_dir: &Path) -> Result<TempDir, SshError> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let candidates =
        [Some(run_dir.to_owned()), runtime, Some(std::env::temp_dir()), Some("/tmp".into())];
    let mut failure = std::io::Error::from(std::io::ErrorKind::NotFound);
    for base in candidates.iter().flatten().filter(|base| holds_sockets(base)) {
        match private_temp_dir(base) {
            Ok(dir) => return Ok(dir),
            Err(error) => failure = error,
        }
    }
    Err(SshError::Io { doing: "making a folder for ssh's control socket", source: failure })
}

fn holds_sockets(base: &Path) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./+,@".contains(c);
    base.is_absolute()
        && base.to_str().is_some_and(|text| {
            text.chars().all(plain) && text.len() + SOCKET_NAME.len() <= LONGEST_SOCKET
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_settings_are_percent_encoded() {
        assert_eq!(percent("local?root=/mnt"), "local%3Froot%3D/mnt");
        assert_eq!(percent("sudo -n nix-daemon"), "sudo%20-n%20nix-daemon");
    }

    #[test]
    fn a_user_with_sudo_writes_the_store_as_root() {
        let dir = private_temp_dir(&std::env::temp_dir()).unwrap();
        let session = Session {
            _note: MasterNote::write(dir.path(), &dir.path().join(SOCKET)).unwrap(),
            endpoint: "alice@[::1]:2222".parse().unwrap(),
            key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
                .parse()
                .unwrap(),
            stores: Mutex::default(),
            dir,
            escalation: PrivilegeEscalation::Sudo,
        };
        assert_eq!(
            session.nix_store_url(Some("/mnt")),
            "ssh-ng://alice@[::1]?remote-store=local%3Froot%3D/mnt\
             &remote-program=sudo%20-n%20nix-daemon"
        );
        assert!(session.root(&["id", "-u"]).to_string().ends_with("'sudo -n -- id -u'"));
        assert!(session.nix_ssh_opts().contains(" -p 2222 "));
        assert!(!session.alive());
    }

    #[test]
    fn sockets_go_where_their_path_fits() {
        assert!(holds_sockets(Path::new("/run/user/1000")));
        assert!(!holds_sockets(Path::new("/tmp/with space")));
        assert!(!holds_sockets(Path::new("relative")));
        assert!(!holds_sockets(&Path::new("/").join("x".repeat(80))));
        let dir = socket_dir(&Path::new("/nowhere").join("y".repeat(200))).unwrap();
        assert!(dir.path().join("ssh").as_os_str().len() <= LONGEST_SOCKET);
    }
}
