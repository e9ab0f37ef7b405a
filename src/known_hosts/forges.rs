//! The published host keys of the forges that configurations live on.
//!
//! A new user account on a new machine knows no forge yet; its first fetch must
//! not be a leap of faith. Each key is the one whose fingerprint its forge
//! publishes; the pages are named, for whoever checks them.

use crate::ssh::HostKey;

/// Host name and ed25519 host key.
pub const FORGES: &[(&str, &str)] = &[
    // https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/githubs-ssh-key-fingerprints
    // SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU
    ("github.com", "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"),
    // https://docs.gitlab.com/user/gitlab_com/#ssh-host-keys-fingerprints
    // SHA256:eUXGGm1YGsMAS7vkcx6JOJdOGHPem5gQp4taiCfCLB8
    ("gitlab.com", "AAAAC3NzaC1lZDI1NTE5AAAAIAfuCHKVTjquxvt6CM6tdG4SLp1Btn/nOeHHE5UOzRdf"),
    // https://docs.codeberg.org/security/ssh-fingerprint/
    // SHA256:mIlxA9k46MmM6qdJOdMnAQpzGxF4WIVVL+fj+wZbw0g
    ("codeberg.org", "AAAAC3NzaC1lZDI1NTE5AAAAIIVIC02vnjFyL+I4RHfvIGNtOgJMe769VTF1VR4EB3ZB"),
    // https://man.sr.ht/git.sr.ht/#ssh-host-keys
    // SHA256:WXXNZu0YyoE3KBl5qh4GsnF1vR0NeEPYJAiPME+P09g
    ("git.sr.ht", "AAAAC3NzaC1lZDI1NTE5AAAAIMZvRd4EtM7R+IHVMWmDkVU3VLQTSwQDSAvW0t2Tkj60"),
];

/// The keys of [`FORGES`], ready for known_hosts.
pub fn forge_keys() -> Vec<(&'static str, HostKey)> {
    FORGES
        .iter()
        .filter_map(|(host, key)| Some((*host, HostKey::new("ssh-ed25519", key).ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_the_published_fingerprint() {
        let published = [
            "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU",
            "SHA256:eUXGGm1YGsMAS7vkcx6JOJdOGHPem5gQp4taiCfCLB8",
            "SHA256:mIlxA9k46MmM6qdJOdMnAQpzGxF4WIVVL+fj+wZbw0g",
            "SHA256:WXXNZu0YyoE3KBl5qh4GsnF1vR0NeEPYJAiPME+P09g",
        ];
        let ours: Vec<String> = forge_keys().iter().map(|(_, key)| key.fingerprint()).collect();
        assert_eq!(ours, published);
    }
}
