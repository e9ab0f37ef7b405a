//! Where a repository is pushed to, and the flake input that fetches it from there.
//!
//! Only addresses that need no quoting in Nix pass [`is_remote`]; what
//! [`flake_input`] returns can stand in a flake as it is.

use std::path::Path;

/// The flake URL of a repository: of its remote, or of the checkout when there is none yet.
/// Branch `main`, without history.
pub fn flake_input(remote: Option<&str>, checkout: &Path) -> String {
    let remote = remote.map_or_else(|| encode(checkout), str::to_owned);
    format!("{}?ref=main&shallow=1", flake_url(&remote))
}

/// A URL or scp-like address in characters that need no quoting in Nix.
pub fn is_remote(url: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.:+@~%[]".contains(c);
    let located = url.starts_with('/') || url.contains(':');
    located && !url.starts_with("git+") && url.chars().all(plain)
}

/// A git remote as the URL of a flake input: `git@forge:me/repo` is `git+ssh://git@forge/me/repo`.
fn flake_url(remote: &str) -> String {
    if remote.starts_with('/') {
        return format!("git+file://{remote}");
    }
    if remote.contains("://") {
        return format!("git+{remote}");
    }
    let (host, path) = remote.split_once(':').unwrap_or((remote, ""));
    format!("git+ssh://{host}/{}", path.trim_start_matches('/'))
}

/// A path with every byte that a URL or a Nix string could take amiss percent-encoded.
/// A path as URLs spell it.
pub fn encode(path: &Path) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
    let bytes = path.as_os_str().as_encoded_bytes().iter();
    bytes
        .map(|&byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes_become_flake_urls() {
        for (remote, url) in [
            ("git@forge.example:me/s.git", "git+ssh://git@forge.example/me/s.git"),
            ("forge:/srv/s.git", "git+ssh://forge/srv/s.git"),
            ("ssh://git@forge:2222/srv/s.git", "git+ssh://git@forge:2222/srv/s.git"),
            ("https://forge/me/s.git", "git+https://forge/me/s.git"),
            ("/srv/git/s.git", "git+file:///srv/git/s.git"),
        ] {
            assert!(is_remote(remote), "{remote}");
            assert_eq!(flake_url(remote), url);
        }
        for bad in ["", "repo", "git+ssh://x/y", "https://x/${y}", "a:b c"] {
            assert!(!is_remote(bad), "{bad}");
        }
    }

    #[test]
    fn a_checkout_stands_in_for_a_missing_remote() {
        let input = flake_input(None, Path::new("/a b/${x}%"));
        assert_eq!(input, "git+file:///a%20b/%24%7Bx%7D%25?ref=main&shallow=1");
    }
}
