//! Where the installed system may answer: the address of the installer, or, when it has
//! moved, under its name or one of the addresses that it had.
//!
//! Nothing is believed of these places: whoever answers there must show the key of the
//! run, and learns nothing before that.

use crate::error::StepError;
use crate::run::facts::Words;
use crate::ssh::{Endpoint, reported_address};
use crate::steps::context::Context;
use crate::steps::installer::InstallerOutput;
use crate::steps::reboot::RebootOutput;

/// As many addresses as a machine may be looked for at: each is connected to.
const MOST: usize = 16;

/// Places to look for the installed system, the likeliest first. With
/// `--installed-address` it is nowhere else.
pub(crate) fn candidates(cx: &Context, target: &Endpoint) -> Result<Vec<Endpoint>, StepError> {
    let configured = configured_port(cx);
    if let Some(told) = &cx.config.installed_address {
        let ports = match told.port {
            Some(port) => vec![Some(port)],
            None => ports(target, configured),
        };
        return Ok(places(target, [(told.host.as_str(), ports)]));
    }
    let mut hosts: Vec<(&str, Vec<Option<u16>>)> = Vec::new();
    let last = cx.finished_output::<RebootOutput>()?.and_then(|reboot| reboot.address);
    let last = last.and_then(|address| address.parse::<Endpoint>().ok());
    if let Some(last) = &last {
        hosts.push((&last.host, vec![last.port]));
    }
    hosts.push((&target.host, ports(target, configured)));
    let host = cx.config.host.as_str();
    let names = [host.to_owned(), format!("{host}.local"), format!("{host}.lan")];
    let installer = cx.known_output::<InstallerOutput>()?.unwrap_or_default().addresses;
    let rebooted = cx.known_output::<RebootOutput>()?.unwrap_or_default().addresses;
    let told = [reported(&installer), reported(&rebooted)].concat();
    for other in names.iter().chain(&told) {
        // A port that was forwarded to the target is one of the old address alone.
        hosts.push((other, vec![configured]));
    }
    Ok(places(target, hosts))
}

/// Keeps what is an address of those that a step noted: what the target said of itself, an
/// older landfall wrote down, or somebody edited.
pub(crate) fn reported(noted: &Words) -> Vec<String> {
    noted.0.iter().filter_map(|word| reported_address(word)).take(MOST).collect()
}

/// The port of the configuration; none where ssh's own choice is one of its ports.
fn configured_port(cx: &Context) -> Option<u16> {
    let ports = &cx.facts().ok()?.first().ssh_ports;
    ports.first().copied().filter(|_| !ports.contains(&22))
}

fn ports(target: &Endpoint, configured: Option<u16>) -> Vec<Option<u16>> {
    match (target.port, configured) {
        (None, None) => vec![None],
        (None, Some(port)) => vec![Some(port), None],
        (Some(named), configured) => vec![Some(named), configured.or(Some(22))],
    }
}

fn places<'a>(
    target: &Endpoint,
    hosts: impl IntoIterator<Item = (&'a str, Vec<Option<u16>>)>,
) -> Vec<Endpoint> {
    let mut places: Vec<Endpoint> = Vec::new();
    for (host, ports) in hosts {
        for port in ports {
            let place = Endpoint { host: host.to_owned(), port, ..target.clone() };
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_port_is_tried_before_that_of_the_configuration() {
        let target = |text: &str| text.parse::<Endpoint>().unwrap();
        assert_eq!(ports(&target("h"), None), [None]);
        assert_eq!(ports(&target("h"), Some(2222)), [Some(2222), None]);
        assert_eq!(ports(&target("h:2200"), None), [Some(2200), Some(22)]);
        assert_eq!(ports(&target("h:2200"), Some(2222)), [Some(2200), Some(2222)]);
    }

    #[test]
    fn places_keep_the_way_in_and_come_once() {
        let target: Endpoint = "root@h:22".parse().unwrap();
        let found =
            places(&target, [("h", vec![Some(22), Some(22)]), ("fe80::1%eth0", vec![None])]);
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["root@h:22", "root@fe80::1%eth0"]);
    }
}
