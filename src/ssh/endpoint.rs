//! The address of a machine, and the options with which ssh reaches it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::Askpass;
use crate::error::{Advice, Exit};

/// Name of the machine in a pinned known_hosts file, whatever its address is.
pub(super) const ALIAS: &str = "landfall-target";

/// A machine as the user names it: an address, or a name from ssh_config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The login user; without one, ssh_config or the local user name decides.
    pub user: Option<String>,
    /// A host name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    pub port: Option<u16>,
    pub identity_file: Option<PathBuf>,
    /// `--ssh-option` values, as `Name=value`; checked when a connection is made.
    pub options: Vec<String>,
    /// Answers the prompts of ssh; without it, ssh never prompts.
    pub askpass: Option<Askpass>,
    /// Whether a person may be prompted; otherwise only earlier answers are used.
    pub may_ask: bool,
}

/// Why a text is not an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} does not name a machine: {why}")]
pub struct EndpointError {
    pub(crate) text: String,
    pub(crate) why: &'static str,
}

impl Advice for EndpointError {
    fn hint(&self) -> String {
        "Write it as [user@]host[:port], ssh://user@host:port, [user@][IPv6 address]:port, \
         or give a name from ~/.ssh/config."
            .into()
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

impl Endpoint {
    pub(crate) fn new(host: impl Into<String>) -> Self {
        Self {
            user: None,
            host: host.into(),
            port: None,
            identity_file: None,
            options: Vec::new(),
            askpass: None,
            may_ask: false,
        }
    }

    #[must_use]
    pub fn with_user(&self, user: impl Into<String>) -> Self {
        Self { user: Some(user.into()), ..self.clone() }
    }

    /// Says whether prompts of ssh can be answered.
    pub(super) fn can_ask(&self) -> bool {
        self.may_ask && self.askpass.as_ref().is_some_and(Askpass::can_answer)
    }

    /// Returns the host as in a URL: an IPv6 address in brackets.
    pub(crate) fn url_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let error = |why| EndpointError { text: text.to_owned(), why };
        let rest = match text.split_once("://") {
            Some(("ssh" | "ssh-ng", rest)) => rest.strip_suffix('/').unwrap_or(rest),
            Some(_) => return Err(error("the scheme is not ssh")),
            None => text,
        };
        if rest.contains('/') {
            return Err(error("there is a path in it"));
        }
        let (user, address) = match rest.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, rest),
        };
        let (host, port) = split_port(address).map_err(error)?;
        for part in user.iter().chain([&host]) {
            check_word(part).map_err(error)?;
        }
        Ok(Self { user: user.map(str::to_owned), port, ..Self::new(host) })
    }
}

fn split_port(address: &str) -> Result<(&str, Option<u16>), &'static str> {
    if let Some(bracketed) = address.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']').ok_or("a bracket is not closed")?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(parse_port(port)?))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err("something other than :port follows the address"),
        };
    }
    match address.split_once(':') {
        // More than one colon is an IPv6 address without a port.
        Some((_, rest)) if rest.contains(':') => Ok((address, None)),
        Some((host, port)) => Ok((host, Some(parse_port(port)?))),
        None => Ok((address, None)),
    }
}

fn parse_port(text: &str) -> Result<u16, &'static str> {
    match text.parse() {
        Ok(port) if port != 0 => Ok(port),
        _ => Err("the port is not a number from 1 to 65535"),
    }
}

/// Refuses a word that ssh would read as an option.
fn check_word(word: &str) -> Result<(), &'static str> {
    if word.is_empty() {
        return Err("a part of it is empty");
    }
    if word.starts_with('-') {
        return Err("a part of it begins with a dash");
    }
    let odd = |c: char| c.is_whitespace() || c.is_control() || "'\"`$\\;&<>|(){}?".contains(c);
    if word.contains(odd) { Err("it holds a character that no address has") } else { Ok(()) }
}

/// An address that a machine reports of itself, as it may be connected to; none where it
/// is no address of one machine. Whoever reports it may be hostile: names, options and
/// what a shell would understand are no addresses.
pub fn reported_address(text: &str) -> Option<String> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
        return None;
    }
    match (address, zone) {
        (address, None) => Some(address.to_string()),
        (IpAddr::V6(address), Some(zone)) if address.is_unicast_link_local() && is_zone(zone) => {
            Some(format!("{address}%{zone}"))
        }
        _ => None,
    }
}

/// Whether it is the name of a network interface without anything odd in it.
fn is_zone(zone: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=15).contains(&zone.len()) && zone.chars().all(plain) && !zone.starts_with('-')
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.url_host()),
            None => f.write_str(&self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (Option<String>, String, Option<u16>) {
        let endpoint: Endpoint = text.parse().unwrap();
        (endpoint.user, endpoint.host, endpoint.port)
    }

    #[test]
    fn all_forms_of_a_target() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(parts("guppy"), (None, "guppy".into(), None));
        assert_eq!(parts("root@10.0.0.1"), (some("root"), "10.0.0.1".into(), None));
        assert_eq!(parts("root@host.lan:2222"), (some("root"), "host.lan".into(), Some(2222)));
        assert_eq!(parts("ssh://a@h:22"), (some("a"), "h".into(), Some(22)));
        assert_eq!(parts("ssh://h/"), (None, "h".into(), None));
        assert_eq!(parts("fe80::1%eth0"), (None, "fe80::1%eth0".into(), None));
        assert_eq!(parts("root@[::1]:22"), (some("root"), "::1".into(), Some(22)));
        assert_eq!(parts("[::1]"), (None, "::1".into(), None));
        assert_eq!(parts("me@corp@h"), (some("me@corp"), "h".into(), None));
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for text in [
            "",
            "@h",
            "root@",
            "h:",
            "h:0",
            "h:65536",
            "h:x",
            "[::1",
            "[::1]x",
            "http://h",
            "a/b",
            "ssh://h/path",
            "-oProxyCommand=x",
            "root@-h",
            "a b",
            "h;rm",
            "$(x)",
            "h\n",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_a_machine_reports_is_an_address_or_nothing() {
        let long = format!("fe80::1%{}", "a".repeat(16));
        for hostile in [
            "",
            "-oProxyCommand=touch /tmp/x",
            "-v",
            "guppy.lan",
            "10.0.0.1;x",
            "10.0.0.1/24",
            "10.0.0.1%eth0",
            "2001:db8::1%eth0",
            "fe80::1%",
            "fe80::1%-x",
            "fe80::1%$(x)",
            "fe80::1%a b",
            "fe80::1%%h",
            "[::2]",
            "127.0.0.1",
            "::1",
            "::",
            "224.0.0.1",
            &long,
        ] {
            assert_eq!(reported_address(hostile), None, "{hostile:?}");
        }
        for good in ["192.0.2.7", "2001:db8::1", "fe80::1%eth0.2", "fe80::1"] {
            assert_eq!(reported_address(good).as_deref(), Some(good));
        }
    }

    #[test]
    fn shows_what_it_was_parsed_from() {
        for text in ["guppy", "root@10.0.0.1:2222", "root@[::1]:22"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }
}
