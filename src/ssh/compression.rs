//! Decides whether a connection compresses its data.
//!
//! Store paths compress to about two fifths of their size, which helps on a slow line; on a fast
//! one, compression is itself the bottleneck. Addresses of the local network count as fast.

use std::net::{IpAddr, ToSocketAddrs};

use super::Endpoint;
use crate::ssh::known_hosts::lookup::configured;

/// Returns the option for the master's command line; `None` where the user's options decide.
pub(super) fn option(endpoint: &Endpoint) -> Option<&'static str> {
    if endpoint.options.iter().any(|option| decides(option)) {
        return None;
    }
    // An error in these settings is reported by the connection itself.
    let settings = configured(endpoint, &[]).ok()?;
    is_far(&settings).then_some("-oCompression=yes")
}

fn decides(option: &str) -> bool {
    let name = option.trim_start().split(|c: char| c == '=' || c.is_whitespace()).next();
    name.is_some_and(|name| name.eq_ignore_ascii_case("compression"))
}

/// Reads the output of `ssh -G`. A machine behind a jump host counts as far.
fn is_far(settings: &str) -> bool {
    let value =
        |name: &str| settings.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let through = |name| value(name).is_some_and(|other| other != "none");
    if through("proxyjump") || through("proxycommand") {
        return true;
    }
    let host = value("hostname").unwrap_or_default();
    let addresses = (host, 22).to_socket_addrs();
    addresses.is_ok_and(|mut all| all.any(|address| !is_near(address.ip())))
}

/// Says whether an address is loopback, link-local, or in a private range of RFC 1918 or RFC
/// 4193.
fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_what_no_router_of_the_internet_leads_to() {
        for near in ["127.0.0.1", "192.168.1.20", "10.0.0.1", "169.254.1.1", "::1", "fd00::1"] {
            assert!(is_near(near.parse().unwrap()), "{near}");
        }
        // 100.64.0.0/10 is used by carriers and overlay networks.
        for far in ["192.0.2.1", "100.64.0.1", "2001:db8::1", "::ffff:192.0.2.1"] {
            assert!(!is_near(far.parse().unwrap()), "{far}");
        }
    }

    #[test]
    fn a_jump_host_makes_a_machine_far() {
        assert!(is_far("hostname 192.0.2.1\n"));
        assert!(!is_far("hostname 192.168.1.20\nproxyjump none\n"));
        assert!(is_far("hostname 192.168.1.20\nproxyjump bastion\n"));
        assert!(is_far("hostname 10.0.0.1\nproxycommand ssh -W %h:%p b\n"));
    }

    #[test]
    fn the_users_own_word_is_last() {
        let named = |option: &str| Endpoint {
            options: vec![option.to_owned()],
            ..Endpoint::new("192.0.2.1")
        };
        assert_eq!(option(&named("Compression=no")), None);
        assert_eq!(option(&named(" COMPRESSION yes")), None);
        assert!(!decides("CompressionLevel=9"));
    }
}
