//! Wi-Fi keyfiles that the user brings, as in /etc/NetworkManager/system-connections.
//!
//! A keyfile is embedded unchanged, or refused where the installer could not use it: because
//! it is bound to one machine or user, or because its secret is stored elsewhere.

use std::path::Path;

use zeroize::Zeroizing;

use super::{Profile, WifiError, shown};

/// Reads the keyfile of a Wi-Fi network, unchanged; refuses one that the installer could not use.
pub(crate) fn read(path: &Path) -> Result<Profile, WifiError> {
    let refuse = |why: String| WifiError::Connection { path: path.to_owned(), why };
    let keyfile = Zeroizing::new(std::fs::read(path).map_err(|error| refuse(error.to_string()))?);
    let text = std::str::from_utf8(&keyfile).map_err(|_| refuse("it is not text".into()))?;
    let entries = entries(text);
    if let Some(why) = problem(&entries) {
        return Err(refuse(why));
    }
    let id = find(&entries, "connection", "id").map(|id| shown(id.as_bytes()));
    let name = id.unwrap_or_else(|| path.file_stem().unwrap_or_default().display().to_string());
    Ok(Profile { name, keyfile: Zeroizing::clone(&keyfile) })
}

/// One line of a keyfile, with the name of its group.
struct Entry<'a> {
    group: &'a str,
    key: &'a str,
    value: &'a str,
}

/// Reads the `key=value` lines of a keyfile, with the groups' old names replaced.
fn entries(text: &str) -> Vec<Entry<'_>> {
    let mut group = "";
    let mut entries = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            // NetworkManager accepts the setting's name and its alias.
            group = match name {
                "802-11-wireless" => "wifi",
                "802-11-wireless-security" => "wifi-security",
                name => name,
            };
        } else if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            entries.push(Entry { group, key: key.trim(), value: value.trim() });
        }
    }
    entries
}

fn find<'a>(entries: &[Entry<'a>], group: &str, key: &str) -> Option<&'a str> {
    let entry = entries.iter().find(|entry| entry.group == group && entry.key == key);
    entry.map(|entry| entry.value).filter(|value| !value.is_empty())
}

/// Says why NetworkManager on another machine would not join the network unattended.
fn problem(entries: &[Entry]) -> Option<String> {
    match find(entries, "connection", "type") {
        Some("wifi" | "802-11-wireless") => {}
        Some(other) => return Some(format!("its type is {other}, not wifi")),
        None => return Some("it has no type in a group [connection]".into()),
    }
    if find(entries, "wifi", "ssid").is_none() {
        return Some("it has no ssid in a group [wifi]".into());
    }
    entries.iter().find_map(|Entry { group, key, value }| {
        let line = format!("{key} in [{group}]");
        match (*group, *key) {
            ("connection", "interface-name" | "permissions") | ("wifi", "mac-address")
                if !value.is_empty() =>
            {
                Some(format!("{line} binds it to one machine or user"))
            }
            ("connection", "autoconnect") if matches!(*value, "false" | "0" | "no") => {
                Some(format!("{line} disables joining automatically"))
            }
            ("wifi-security" | "802-1x", key) if key.ends_with("-flags") && *value != "0" => {
                Some(format!("{line} means that its secret is not in the file"))
            }
            ("802-1x", key) if is_path_key(key) && !value.starts_with("data:") => {
                Some(format!("{line} refers to a file of this machine"))
            }
            _ => None,
        }
    })
}

/// Says whether a key of 802.1X has a path as its value, unless that begins with `data:`.
fn is_path_key(key: &str) -> bool {
    let key = key.strip_prefix("phase2-").unwrap_or(key);
    matches!(key, "ca-cert" | "ca-path" | "client-cert" | "private-key" | "pac-file")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFICE: &str = "# the office\n[connection]\nid = Office\ntype=802-11-wireless\n\n\
        [802-11-wireless]\nssid=office\n\n[wifi-security]\nkey-mgmt=wpa-eap\n\n\
        [802-1x]\neap=peap;\nidentity=anna\npassword=a=b\nphase2-auth=mschapv2\n";

    #[test]
    fn a_connection_with_all_that_it_needs_is_taken_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("office.nmconnection");
        std::fs::write(&path, OFFICE).unwrap();
        let profile = read(&path).unwrap();
        assert_eq!(
            (profile.name.as_str(), profile.keyfile.as_slice()),
            ("Office", OFFICE.as_bytes())
        );
    }

    #[test]
    fn what_only_one_machine_can_use_is_named() {
        let wrong = |more: &str| problem(&entries(&format!("{OFFICE}{more}\n")));
        assert_eq!(wrong(""), None);
        assert_eq!(wrong("password-flags=0\nca-cert=data:;base64,AA=="), None);
        for (more, names) in [
            ("password-flags=1", "password-flags in [802-1x] means"),
            ("phase2-ca-cert=/home/anna/ca.pem", "phase2-ca-cert in [802-1x] refers to a file"),
            ("[connection]\ninterface-name=wlan0", "interface-name in [connection] binds"),
            ("[connection]\npermissions=user:anna:;", "permissions in [connection] binds"),
            ("[connection]\nautoconnect=false", "autoconnect in [connection] disables"),
            ("[wifi]\nmac-address=00:11:22:33:44:55", "mac-address in [wifi] binds"),
        ] {
            let why = wrong(more).unwrap();
            assert!(why.starts_with(names), "{why}");
        }
        let other = |text: &str| problem(&entries(text)).unwrap();
        assert!(other("[connection]\ntype=ethernet").contains("ethernet, not wifi"));
        assert!(other("[connection]\ntype=wifi").contains("no ssid"));
        assert!(other("network={\n ssid=\"x\"\n}").contains("no type"));
    }
}
