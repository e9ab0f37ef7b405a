//! The options that every ssh run gets: how to reach the machine, and the pin.
//!
//! ssh takes the first value that it meets, and the command line comes before
//! all files: what stands in `pinned` cannot be undone by the user's settings.

use std::path::Path;
use std::time::Duration;

use super::{Endpoint, HostKey, SshError, remote_command};
use crate::exec::Cmd;
use crate::secret;

/// Stands for the machine in a pinned known_hosts, whatever its address is.
const ALIAS: &str = "landfall-target";

/// Options that decide which host key is accepted; in lower case.
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
    // A key exchange of a patched OpenSSH that does not look at host keys.
    "gssapikeyexchange",
    "gssapitrustdns",
    "ignoreunknown",
];
/// Options that landfall needs for itself; in lower case.
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

/// Refuses user options that weaken the check of the host key or break the master.
pub(super) fn check(options: &[String]) -> Result<(), SshError> {
    for option in options {
        let error = |why| SshError::Option { option: option.clone(), why };
        let (name, _) = option
            .trim_start()
            .split_once(|c: char| c == '=' || c.is_whitespace())
            .ok_or_else(|| error("it is not of the form Name=value"))?;
        let name = name.trim().to_ascii_lowercase();
        if option.contains(['\n', '\0']) {
            return Err(error("it has more than one line"));
        }
        if CHECKING.contains(&name.as_str()) {
            return Err(error("it changes how the host key is checked"));
        }
        if OWN.contains(&name.as_str()) {
            return Err(error("landfall sets it by itself"));
        }
    }
    Ok(())
}

/// How the machine is reached, without its name.
pub(super) fn reach(endpoint: &Endpoint) -> Vec<String> {
    let mut args = Vec::new();
    if let Some(port) = endpoint.port {
        args.extend(["-p".to_owned(), port.to_string()]);
    }
    if let Some(user) = &endpoint.user {
        args.extend(["-l".to_owned(), user.clone()]);
    }
    if let Some(file) = &endpoint.identity_file {
        // Not -i: it looks for the file before it reads %% as %.
        args.push(format!("-oIdentityFile={}", config_path(file)));
        args.push("-oIdentitiesOnly=yes".to_owned());
    }
    args.extend(endpoint.options.iter().map(|option| format!("-o{option}")));
    args
}

/// Accepts `key` and nothing else; `known_hosts` is the file of [`write_pin`].
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

/// Host keys come from where landfall says, never from elsewhere.
///
/// A GSSAPI key exchange, which some distributions patch into ssh, looks at no host
/// key; plain OpenSSH does not know the option. `UseKeychain` is ignored where it is
/// not known because macOS users write that into their files.
pub(super) fn unchanged() -> impl Iterator<Item = String> {
    [
        "IgnoreUnknown=GSSAPIKeyExchange,UseKeychain",
        "GSSAPIKeyExchange=no",
        "CheckHostIP=no",
        "VerifyHostKeyDNS=no",
        "UpdateHostKeys=no",
        "NoHostAuthenticationForLocalhost=no",
    ]
    .into_iter()
    .map(str::to_owned)
}

/// What a person's ssh_config may hold for a host, but a program must not do.
pub(super) fn plain(connect: Duration) -> Vec<String> {
    [
        "-T".to_owned(),
        "-oRemoteCommand=none".into(),
        "-oRequestTTY=no".into(),
        "-oPermitLocalCommand=no".into(),
        "-oClearAllForwardings=yes".into(),
        "-oForwardAgent=no".into(),
        "-oForwardX11=no".into(),
        // OpenSSH tells at this level why a key exchange failed.
        "-oLogLevel=INFO".into(),
        "-oConnectionAttempts=1".into(),
        format!("-oConnectTimeout={}", connect.as_secs().max(1)),
    ]
    .into()
}

/// A path as a value in ssh_config: no token, one word.
pub(super) fn config_path(path: &Path) -> String {
    let text = path.to_string_lossy().replace('%', "%%");
    if text.contains(|c: char| c.is_whitespace() || "\"'\\".contains(c)) {
        return format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""));
    }
    text
}

/// Writes the known_hosts file that holds `key` alone.
pub(super) fn write_pin(path: &Path, key: &HostKey) -> Result<(), SshError> {
    let line = format!("{}\n", key.known_hosts_line(ALIAS));
    secret::write_private(path, line.as_bytes())
        .map_err(|source| SshError::Io { doing: "writing the run's known_hosts", source })
}

/// Keeps ssh and the ssh of jump hosts from asking when nobody may be asked.
pub(super) fn asking(endpoint: &Endpoint, cmd: Cmd) -> Cmd {
    if endpoint.may_ask {
        return cmd.terminal();
    }
    cmd.arg("-oBatchMode=yes").env("SSH_ASKPASS_REQUIRE", "force").env("SSH_ASKPASS", "false")
}

/// A session for a person, with the machine's key pinned; meant for [`Cmd::exec`].
///
/// `dir` keeps the known_hosts file as long as the session lives.
pub fn interactive(
    endpoint: &Endpoint,
    key: &HostKey,
    dir: &Path,
    argv: &[&str],
) -> Result<Cmd, SshError> {
    check(&endpoint.options)?;
    let known_hosts = dir.join("known_hosts");
    write_pin(&known_hosts, key)?;
    let cmd = Cmd::new("ssh")
        .args(pinned(&known_hosts, key))
        .args(["-oControlMaster=no", "-oControlPath=none"])
        .args(reach(endpoint))
        .args(["--", &endpoint.host]);
    Ok(if argv.is_empty() { cmd } else { cmd.arg(remote_command(argv)) })
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
