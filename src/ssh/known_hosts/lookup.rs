//! Looks machines up in the operator's known_hosts files, as the operator's ssh does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exec::{Cmd, ExecError};
use crate::ssh::options::{check, reach};
use crate::ssh::{Endpoint, HostKey, SshError};

const DEADLINE: Duration = Duration::from_secs(20);

/// The known keys of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Its keys, without revoked ones.
    pub keys: Vec<HostKey>,
    pub(crate) revoked: Vec<HostKey>,
    /// Keys of certificate authorities for the name (`@cert-authority`).
    pub(crate) authorities: Vec<HostKey>,
}

/// Looks up everything that the operator's ssh knows of `endpoint`; empty for an unknown machine.
pub fn known(endpoint: &Endpoint) -> Result<Known, SshError> {
    let known = KnownAs::of(endpoint)?;
    known_in(&known.files, &known.name)
}

/// Looks up the keys of `endpoint` in the operator's known_hosts files; empty for an unknown
/// machine.
pub fn known_keys(endpoint: &Endpoint) -> Result<Vec<HostKey>, SshError> {
    known(endpoint).map(|known| known.keys)
}

fn known_in(files: &[PathBuf], name: &str) -> Result<Known, SshError> {
    let mut known = Known::default();
    for file in files.iter().filter(|file| file.is_file()) {
        for line in find(name, file)?.lines() {
            if let Some(rest) = line.strip_prefix("@revoked ") {
                known.revoked.extend(rest.parse::<HostKey>());
            } else if let Some(rest) = line.strip_prefix("@cert-authority ") {
                known.authorities.extend(rest.parse::<HostKey>());
            } else if let Ok(key) = line.parse::<HostKey>()
                && !known.keys.contains(&key)
            {
                known.keys.push(key);
            }
        }
    }
    known.keys.retain(|key| !known.revoked.contains(key));
    Ok(known)
}

/// Returns the name that the operator's ssh looks up for `endpoint`: its `HostKeyAlias`, `host`,
/// or `[host]:port`.
pub fn known_hosts_name(endpoint: &Endpoint) -> Result<String, SshError> {
    KnownAs::of(endpoint).map(|known| known.name)
}

/// Returns the known_hosts files of the operator for `endpoint`, without those of the system; ssh
/// adds new keys to the first. Defaults to `~/.ssh/known_hosts`.
pub fn user_known_hosts(endpoint: &Endpoint) -> Result<Vec<PathBuf>, SshError> {
    let configured = KnownAs::of(endpoint)?.own();
    if configured != KnownAs::asked(endpoint, &["-F", "none"])?.own() {
        return Ok(configured);
    }
    let home = std::env::home_dir().filter(|home| home.is_absolute());
    Ok(home.map(|home| home.join(".ssh/known_hosts")).into_iter().collect())
}

/// The name and the files of a lookup, after ssh_config and the command line.
struct KnownAs {
    name: String,
    files: Vec<PathBuf>,
    /// Length of the prefix of the files that are the operator's own.
    own: usize,
}

impl KnownAs {
    fn of(endpoint: &Endpoint) -> Result<Self, SshError> {
        Self::asked(endpoint, &[])
    }

    fn asked(endpoint: &Endpoint, options: &[&str]) -> Result<Self, SshError> {
        configured(endpoint, options).map(|text| Self::parse(&text))
    }

    /// Parses the output of [`configured`].
    fn parse(text: &str) -> Self {
        let value =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let host = value("hostname").unwrap_or_default().to_ascii_lowercase();
        let name = match (value("hostkeyalias"), value("port")) {
            (Some(alias), _) => alias.to_owned(),
            (None, None | Some("22")) => host,
            (None, Some(port)) => format!("[{host}]:{port}"),
        };
        let listed = |keyword| {
            let files = paths(value(keyword).unwrap_or_default());
            files.into_iter().filter(|file| file != Path::new("none")).collect::<Vec<_>>()
        };
        let mut files = listed("userknownhostsfile");
        let own = files.len();
        files.extend(listed("globalknownhostsfile"));
        Self { name, files, own }
    }

    fn own(&self) -> Vec<PathBuf> {
        self.files[..self.own].to_vec()
    }
}

/// Tells the paths of a list apart, in which ssh puts spaces between them and leaves those
/// within as they are: a word that begins no path of its own belongs to the path before it.
fn paths(list: &str) -> Vec<PathBuf> {
    let mut paths: Vec<String> = Vec::new();
    for word in list.split(' ') {
        let begins = word.starts_with(['/', '~']) || word == "none";
        match paths.last_mut() {
            Some(path) if !begins => path.extend([" ", word]),
            _ => paths.push(word.to_owned()),
        }
    }
    paths.into_iter().filter(|path| !path.is_empty()).map(PathBuf::from).collect()
}

/// Runs `ssh -G`, which prints the effective settings for a machine: in each line a keyword in
/// lower case and its value.
pub(crate) fn configured(endpoint: &Endpoint, options: &[&str]) -> Result<String, SshError> {
    check(&endpoint.options)?;
    Cmd::new("ssh")
        .args(["-G", "-T"])
        .args(options)
        .args(reach(endpoint))
        .args(["--", &endpoint.host])
        .deadline(DEADLINE)
        .read()
        .map_err(|error| SshError::classify(&endpoint.to_string(), error))
}

/// Returns the lines of `file` for `name`, hashed ones included, as ssh-keygen -F finds them.
fn find(name: &str, file: &Path) -> Result<String, ExecError> {
    let output =
        Cmd::new("ssh-keygen").args(["-F", name, "-f"]).arg(file).deadline(DEADLINE).output()?;
    // Exit status 1 means only that there is no such entry.
    Ok(output.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_has_the_port_unless_it_is_22_or_there_is_an_alias() {
        let name = |text: &str| KnownAs::parse(text).name;
        assert_eq!(name("user x\nhostname H\nport 22\n"), "h");
        assert_eq!(name("hostname h\nport 2222\n"), "[h]:2222");
        assert_eq!(name("hostname h\nport 2222\nhostkeyalias a\n"), "a");
        let known = KnownAs::parse("userknownhostsfile /a /b\nglobalknownhostsfile /c\n");
        assert_eq!(known.files, ["/a", "/b", "/c"].map(PathBuf::from));
        assert_eq!(known.own(), known.files[..2]);
    }

    #[test]
    fn paths_keep_their_spaces() {
        let known = KnownAs::parse("userknownhostsfile /home/a b/.ssh/known  hosts /c d none\n");
        assert_eq!(known.files, ["/home/a b/.ssh/known  hosts", "/c d"].map(PathBuf::from));
        assert_eq!(KnownAs::parse("userknownhostsfile \n").files, [""; 0].map(PathBuf::from));
    }

    #[test]
    fn keys_are_found_hashed_or_not_and_revoked_ones_are_left_out() {
        const ONE: &str =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
        const TWO: &str =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAfuCHKVTjquxvt6CM6tdG4SLp1Btn/nOeHHE5UOzRdf";
        let dir = tempfile::tempdir().unwrap();
        let (hashed, plain) = (dir.path().join("hashed"), dir.path().join("plain"));
        std::fs::write(&hashed, format!("h {ONE}\n[h]:2222 {TWO}\n")).unwrap();
        Cmd::new("ssh-keygen").args(["-q", "-H", "-f"]).arg(&hashed).run().unwrap();
        std::fs::write(&plain, format!("@revoked * {TWO}\nh,other {TWO} c\nh {ONE}\n")).unwrap();
        let files = [hashed.clone(), plain, dir.path().join("missing")];
        let (one, two): (HostKey, HostKey) = (ONE.parse().unwrap(), TWO.parse().unwrap());
        let known = known_in(&files, "h").unwrap();
        assert_eq!((known.keys, known.revoked), (vec![one], vec![two.clone()]));
        let other_port = known_in(&[hashed], "[h]:2222").unwrap();
        assert_eq!(other_port.keys, vec![two.clone()]);
        let nobody = Known { revoked: vec![two.clone()], ..Known::default() };
        assert_eq!(known_in(&files, "nobody").unwrap(), nobody);
        std::fs::write(&files[1], format!("@cert-authority *.lan {TWO}\n")).unwrap();
        assert_eq!(known_in(&files, "a.lan").unwrap().authorities, [two]);
        assert_eq!(known_in(&files, "a.org").unwrap(), Known::default());
    }
}
