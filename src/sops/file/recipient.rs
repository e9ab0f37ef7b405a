//! Kinds of recipients, and which of them landfall can encrypt to without sops.

use crate::secret::age::Recipient;

/// The kind of a recipient, by its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecipientKind {
    /// A native age recipient, as `age1…`.
    X25519,
    /// An SSH key, as `ssh-ed25519 AAAA…`.
    SshEd25519,
    /// Another kind, for which only sops can wrap, some with a plugin: `age1yubikey1…`,
    /// `age1pq1…`.
    Foreign,
    /// A text that sops refuses under `age`.
    Invalid,
}

impl RecipientKind {
    pub(crate) fn of(text: &str) -> Self {
        if Recipient::parse(text).is_ok() {
            Self::X25519
        } else if text.starts_with("ssh-ed25519 ") {
            Self::SshEd25519
        } else if text.starts_with("ssh-rsa ") || is_plugin(text) {
            Self::Foreign
        } else {
            Self::Invalid
        }
    }

    /// Says whether landfall wraps data keys for this kind without sops.
    pub(crate) fn is_native(self) -> bool {
        matches!(self, Self::X25519 | Self::SshEd25519)
    }
}

/// Says whether a text is a plugin's recipient, with the plugin's name between two separators:
/// `age1NAME1…`.
fn is_plugin(text: &str) -> bool {
    text.starts_with("age1") && text.matches('1').count() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (text, kind) in [
            (
                "age17044m9wgakla6pzftf4srtl3h5mcsr85jysgt5fg23zpnta8sfdqhzn452",
                RecipientKind::X25519,
            ),
            (
                "age1yubikey1qwlfxw5t9deg9a0lh6gqapfmwtncsgcvj4tzqslyxyf8gg2twnz7xjz0efa",
                RecipientKind::Foreign,
            ),
            ("ssh-ed25519 AAAA x", RecipientKind::SshEd25519),
            ("ssh-rsa AAAA x", RecipientKind::Foreign),
            ("age1typo", RecipientKind::Invalid),
            ("7088C7421873E0DB97FF17C2245CAB70B4C225E9", RecipientKind::Invalid),
        ] {
            assert_eq!(RecipientKind::of(text), kind, "{text}");
        }
    }
}
