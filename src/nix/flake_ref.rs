//! Flake references of git repositories.
//!
//! Invariant: the result of [`flake_input_url`] needs no quoting in a Nix string, provided that
//! the remote passed [`is_remote`].

use std::path::Path;

/// Returns the URL of a flake input that fetches branch `main`, without history, from the
/// repository's remote, or from the checkout when it has no remote yet.
pub(crate) fn flake_input_url(remote: Option<&str>, checkout: &Path) -> String {
    let remote = remote.map_or_else(|| percent_encode(checkout), str::to_owned);
    format!("{}?ref=main&shallow=1", flake_url(&remote))
}

/// Says whether a text is a git remote (a URL, an scp-like address or an absolute path) whose
/// characters need no quoting in Nix.
pub(crate) fn is_remote(url: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.:+@~%[]".contains(c);
    let located = url.starts_with('/') || url.contains(':');
    located && !url.starts_with("git+") && url.chars().all(plain)
}

/// Converts a git remote to a flake reference: `git@forge:me/repo` becomes
/// `git+ssh://git@forge/me/repo`.
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

/// Percent-encodes every byte of a path that is not plain in both URLs and Nix strings.
pub(crate) fn percent_encode(path: &Path) -> String {
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
        let input = flake_input_url(None, Path::new("/a b/${x}%"));
        assert_eq!(input, "git+file:///a%20b/%24%7Bx%7D%25?ref=main&shallow=1");
    }
}
