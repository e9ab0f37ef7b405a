//! Addresses of remotes, and what lets somebody in there.
//!
//! An address may hold a user and a token. They are for git on this machine: what is shown,
//! written down, sent to the target or started as a program gets the address without them.
//! git itself reads them from files that are in memory alone.

use std::fmt::Write;
use std::io;

use crate::exec::Cmd;
use crate::secret::{MemoryFile, Secret};

/// An address, apart from the login that stood in it.
#[derive(Debug)]
pub(super) struct RemoteUrl {
    /// The address without a login, but for the user of ssh.
    pub(crate) clean: String,
    login: Option<Login>,
}

#[derive(Debug)]
struct Login {
    /// What credentials are asked for: scheme and host.
    site: String,
    user: Secret,
    password: Option<Secret>,
}

/// What a git is told of an address, as long as this lives.
#[derive(Debug)]
pub(super) struct Told {
    config: MemoryFile,
    _login: Option<MemoryFile>,
}

impl RemoteUrl {
    pub(crate) fn parse(url: &str) -> Self {
        let plain = || Self { clean: url.to_owned(), login: None };
        let Some((scheme, rest)) = url.split_once("://") else { return plain() };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let Some((login, host)) = rest[..end].rsplit_once('@') else { return plain() };
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(Secret::from(decoded(password)))),
            None => (login, None),
        };
        let path = &rest[end..];
        if scheme.contains("ssh") {
            return Self { clean: format!("{scheme}://{user}@{host}{path}"), login: None };
        }
        // The name before a token is often a token itself.
        let user = Secret::from(decoded(user));
        // `helper::https://…` asks for the login of the address behind.
        let site = scheme.rsplit("::").next().unwrap_or(scheme);
        let login = Login { site: format!("{site}://{host}"), user, password };
        Self { clean: format!("{scheme}://{host}{path}"), login: Some(login) }
    }

    /// Lets a git take `name` for this address, and log in there.
    pub(crate) fn known_as(&self, name: &str) -> io::Result<Told> {
        let mut config = format!("[url {}]\n", quoted(&self.clean));
        for key in ["insteadOf", "pushInsteadOf"] {
            let _ = writeln!(config, "{key} = {}", quoted(name));
        }
        let mut login = None;
        if let Some(Login { site, user, password }) = &self.login {
            let user = user.expose_str().unwrap_or_default();
            let _ = writeln!(config, "[credential {}]\nusername = {}", quoted(site), quoted(user));
            if let Some(password) = password {
                let password = password.expose_str().unwrap_or_default();
                let answer = Secret::from(format!("username={user}\npassword={password}\n"));
                let answer = login.insert(MemoryFile::new(answer.expose())?).path();
                let helper =
                    format!("!f() {{ test \"$1\" = get && cat {}; }}; f", answer.display());
                // No other helper is asked, and none gets to keep it.
                let _ = writeln!(config, "helper =\nhelper = {}", quoted(&helper));
            }
        }
        let config = zeroize::Zeroizing::new(config);
        Ok(Told { config: MemoryFile::new(config.as_bytes())?, _login: login })
    }

    pub(crate) fn has_login(&self) -> bool {
        self.login.is_some()
    }
}

impl Told {
    /// Lets `cmd`, a git, know it.
    pub(crate) fn to(&self, cmd: Cmd) -> Cmd {
        let given = std::env::var("GIT_CONFIG_COUNT").ok().and_then(|count| count.parse().ok());
        let number: usize = given.unwrap_or(0);
        cmd.env("GIT_CONFIG_COUNT", (number + 1).to_string())
            .env(format!("GIT_CONFIG_KEY_{number}"), "include.path")
            .env(format!("GIT_CONFIG_VALUE_{number}"), self.config.path())
    }
}

/// A word in a file of git's configuration.
fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n"))
}

/// Takes percent-encoding away.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_taken_out_of_every_form_of_an_address() {
        for (url, clean) in [
            ("https://forge/x.git", "https://forge/x.git"),
            ("https://user:to%40ken@forge/x.git", "https://forge/x.git"),
            ("https://token@forge:8443/x", "https://forge:8443/x"),
            ("http://a:b@c@forge", "http://forge"),
            ("https://forge/a@b:c", "https://forge/a@b:c"),
            ("ssh://git:pass@forge:22/x", "ssh://git@forge:22/x"),
            ("cached::https://u:p@forge/x", "cached::https://forge/x"),
            ("git@forge:owner/x.git", "git@forge:owner/x.git"),
            ("/srv/git/x@y.git", "/srv/git/x@y.git"),
            ("file:///srv/x@y", "file:///srv/x@y"),
        ] {
            assert_eq!(RemoteUrl::parse(url).clean, clean);
        }
        assert_eq!(decoded("to%40ken%2"), "to@ken%2");
    }
}
