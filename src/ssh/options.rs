//! Options of every ssh command: how to reach the machine, and the pinned host key.
//!
//! ssh uses the first value that it finds for an option, and reads the command line before all
//! files, so that the user's files cannot override [`pinned`].

use std::path::Path;
use std::time::Duration;

use super::answers::Unanswered;
use super::endpoint::ALIAS;
use super::{Askpass, Endpoint, HostKey, SshError, remote_command};
use crate::exec::Cmd;
use crate::secret;

/// Options that decide which host key is accepted, in lower case.
const CHECKING: &[&str] = &[
    "stricthostkeychecking",
    "userknownhostsfile",
    "globalknownhostsfile",
    "knownhostscommand",
    "hostkeyalias",
    "hostkeyalgorithms",
    "checkhostip",
    "verifyhostkeydns",
    "updatehostkeys",
    "nohostauthenticationforlocalhost",
    "casignaturealgorithms",
    // Key exchange of a patched OpenSSH that ignores host keys.
    "gssapikeyexchange",
    "gssapitrustdns",
    "ignoreunknown",
];
/// Options that landfall sets itself, in lower case.
const OWN: &[&str] = &[
    "controlmaster",
    "controlpath",
    "controlpersist",
    "batchmode",
    "remotecommand",
    "requesttty",
    "sessiontype",
    "forkafterauthentication",
    "stdinnull",
    "localcommand",
    "permitlocalcommand",
    "loglevel",
    "include",
    "host",
    "match",
];
/// Options that have a flag, in lower case.
const FLAGS: &[&str] = &["port", "user", "hostname"];
/// Options without effect, because landfall forwards nothing; in lower case.
const FORWARDS: &[&str] = &[
    "localforward",
    "remoteforward",
    "dynamicforward",
    "clearallforwardings",
    "exitonforwardfailure",
    "gatewayports",
    "permitremoteopen",
    "tunnel",
    "tunneldevice",
    "forwardx11",
    "forwardx11timeout",
    "forwardx11trusted",
    "forwardagent",
    "stdioforward",
];

/// Refuses user options that weaken host key checking or break the master connection.
pub(super) fn check(options: &[String]) -> Result<(), SshError> {
    for option in options {
        let error = |why| SshError::Option { option: option.clone(), why };
        let (name, _) = option
            .trim_start()
            .split_once(|c: char| c == '=' || c.is_whitespace())
            .ok_or_else(|| error("it is not of the form Name=value"))?;
        let name = name.trim().to_ascii_lowercase();
        // ssh accepts a quoted name, which would hide it from the lists.
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(error("it is not of the form Name=value"));
        }
        if option.contains(['\n', '\r', '\0']) {
            return Err(error("it has more than one line"));
        }
        if CHECKING.contains(&name.as_str()) {
            return Err(error("it changes how the host key is checked"));
        }
        if OWN.contains(&name.as_str()) {
            return Err(error("landfall sets it by itself"));
        }
        if FLAGS.contains(&name.as_str()) {
            return Err(error("it belongs to the target: [user@]host[:port], or -p PORT"));
        }
        if FORWARDS.contains(&name.as_str()) {
            return Err(error("landfall forwards nothing"));
        }
    }
    Ok(())
}

/// Returns the options that reach the machine, without its name.
pub(super) fn reach(endpoint: &Endpoint) -> Vec<String> {
    // The user's options come first, because ssh uses the first value that it finds.
    let mut args: Vec<String> =
        endpoint.options.iter().map(|option| format!("-o{option}")).collect();
    if let Some(port) = endpoint.port {
        args.extend(["-p".to_owned(), port.to_string()]);
    }
    if let Some(user) = &endpoint.user {
        args.extend(["-l".to_owned(), user.clone()]);
    }
    if let Some(file) = &endpoint.identity_file {
        // Not -i, which looks for the file before it expands `%%`.
        args.push(format!("-oIdentityFile={}", config_path(file)));
        args.push("-oIdentitiesOnly=yes".to_owned());
    }
    args
}

/// Returns the options that accept `key` alone; `known_hosts` is the file of [`write_pin`].
pub(super) fn pinned(known_hosts: &Path, key: &HostKey) -> Vec<String> {
    [
        "StrictHostKeyChecking=yes".to_owned(),
        format!("UserKnownHostsFile={}", config_path(known_hosts)),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        "KnownHostsCommand=none".to_owned(),
        format!("HostKeyAlias={ALIAS}"),
        format!("HostKeyAlgorithms={}", key.negotiation()),
    ]
    .into_iter()
    .chain(unchanged())
    .map(|option| format!("-o{option}"))
    .collect()
}

/// Returns the options that exclude every other source of host keys.
///
/// Options that an older supported ssh does not know are ignored by it. A GSSAPI key exchange,
/// which some distributions patch into ssh, ignores host keys; plain OpenSSH does not know its
/// option. `UseKeychain` is ignored where unknown, because macOS users have it in their files.
pub(super) fn unchanged() -> impl Iterator<Item = String> {
    [
        "IgnoreUnknown=GSSAPIKeyExchange,UseKeychain,SessionType,StdinNull,\
         ForkAfterAuthentication",
        "GSSAPIKeyExchange=no",
        "CheckHostIP=no",
        "VerifyHostKeyDNS=no",
        "UpdateHostKeys=no",
        "NoHostAuthenticationForLocalhost=no",
    ]
    .into_iter()
    .map(str::to_owned)
}

/// Returns the options that override settings for interactive use in a person's ssh_config.
pub(super) fn plain(connect: Duration) -> Vec<String> {
    [
        "-T".to_owned(),
        "-oRemoteCommand=none".into(),
        "-oRequestTTY=no".into(),
        "-oPermitLocalCommand=no".into(),
        "-oClearAllForwardings=yes".into(),
        "-oForwardAgent=no".into(),
        "-oForwardX11=no".into(),
        "-oTunnel=no".into(),
        "-oVisualHostKey=no".into(),
        // At this log level, OpenSSH says why a key exchange failed.
        "-oLogLevel=INFO".into(),
        "-oConnectionAttempts=1".into(),
        format!("-oConnectTimeout={}", connect.as_secs().max(1)),
    ]
    .into_iter()
    .chain(SESSION.map(str::to_owned))
    .collect()
}

/// Options of a session that runs the given command and reads standard input.
const SESSION: [&str; 3] =
    ["-oSessionType=default", "-oStdinNull=no", "-oForkAfterAuthentication=no"];

/// Quotes a path as one word of ssh_config, without tokens to expand.
pub(super) fn config_path(path: &Path) -> String {
    let text = path.to_string_lossy().replace('%', "%%");
    if text.contains(|c: char| c.is_whitespace() || "\"'\\".contains(c)) {
        return format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""));
    }
    text
}

/// Writes a known_hosts file with `key` alone.
pub(super) fn write_pin(path: &Path, key: &HostKey) -> Result<(), SshError> {
    let line = format!("{}\n", key.known_hosts_line(ALIAS));
    secret::write_private(path, line.as_bytes())
        .map_err(|source| SshError::Io { doing: "writing the run's known_hosts", source })
}

/// Sets the environment in which ssh, also that of jump hosts, prompts as far as answers exist.
pub(super) fn asking(endpoint: &Endpoint, cmd: Cmd) -> Cmd {
    match &endpoint.askpass {
        Some(askpass) if endpoint.can_ask() => askpass.ask(cmd),
        Some(askpass) => askpass.recall(cmd).arg("-oBatchMode=yes"),
        None => {
            let cmd = cmd.arg("-oBatchMode=yes");
            cmd.env("SSH_ASKPASS_REQUIRE", "force").env("SSH_ASKPASS", "false")
        }
    }
}

/// Least time limit of a connection in which a person may have to type a password.
const ASKING: Duration = Duration::from_secs(180);

/// Returns the time limit of a connection that may have to prompt a person; ssh itself gives up
/// earlier on a silent machine.
pub(super) fn patience(endpoint: &Endpoint, deadline: Duration) -> Duration {
    if endpoint.can_ask() { deadline.max(ASKING) } else { deadline }
}

/// Replaces `error` by the missing answer, where that caused it.
pub(super) fn unanswered(endpoint: &Endpoint, error: SshError) -> SshError {
    match endpoint.askpass.as_ref().and_then(Askpass::unanswered) {
        Some(Unanswered::Nobody { question }) => {
            SshError::Unanswered { to: endpoint.to_string(), question }
        }
        Some(Unanswered::Wrong { question }) => {
            let why = format!("What was given is not right: {question}");
            SshError::Auth { to: endpoint.to_string(), why }
        }
        None => error,
    }
}

/// Returns an interactive session with the machine's key pinned, for [`Cmd::exec`].
///
/// `dir` contains the known_hosts file and must exist as long as the session. With `terminal`,
/// the command gets a terminal, whatever standard input is.
pub fn interactive(
    endpoint: &Endpoint,
    key: &HostKey,
    dir: &Path,
    argv: &[&str],
    terminal: bool,
) -> Result<Cmd, SshError> {
    check(&endpoint.options)?;
    let known_hosts = dir.join("known_hosts");
    write_pin(&known_hosts, key)?;
    let cmd = Cmd::new("ssh")
        .args(pinned(&known_hosts, key))
        .args(["-oControlMaster=no", "-oControlPath=none", "-oPermitLocalCommand=no"])
        .args(SESSION)
        .args(terminal.then_some("-tt"))
        .args(reach(endpoint));
    Ok(if argv.is_empty() {
        cmd.args(["--", &endpoint.host])
    } else {
        cmd.arg("-oRemoteCommand=none").args(["--", &endpoint.host]).arg(remote_command(argv))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Advice, Exit};

    #[test]
    fn options_that_weaken_the_check_are_refused() {
        for option in [
            "StrictHostKeyChecking=no",
            "stricthostkeychecking accept-new",
            " UserKnownHostsFile=/dev/null",
            "KNOWNHOSTSCOMMAND=/bin/echo",
            "HostKeyAlias = other",
            "CheckHostIP=yes",
            "NoHostAuthenticationForLocalhost=yes",
            "VerifyHostKeyDNS=yes",
            "UpdateHostKeys=yes",
            "GlobalKnownHostsFile=x",
            "ControlPath=/tmp/x",
            "\"StrictHostKeyChecking\" no",
            "'StrictHostKeyChecking'=no",
            "\u{a0}StrictHostKeyChecking=no",
            "-oStrictHostKeyChecking=no",
            "=no",
            "Port=2222",
            "HostName=elsewhere",
            "ForwardAgent=yes",
            "LocalForward=1 x:2",
            "Compression",
            "Compression=yes\nStrictHostKeyChecking=no",
        ] {
            let error = check(&[option.to_owned()]).unwrap_err();
            assert_eq!(error.exit(), Exit::Usage, "{option}");
        }
    }

    #[test]
    fn other_options_pass() {
        for option in ["ProxyJump=bastion", "Compression yes", "ProxyCommand=ssh -W %h:%p b"] {
            check(&[option.to_owned()]).unwrap();
        }
    }

    #[test]
    fn paths_survive_the_reader_of_ssh_config() {
        assert_eq!(config_path(Path::new("/a/b")), "/a/b");
        assert_eq!(config_path(Path::new("/a b/c%d")), "\"/a b/c%%d\"");
        assert_eq!(config_path(Path::new("/a\"b")), "\"/a\\\"b\"");
    }
}
