//! Published host keys of the Git forges that configurations are hosted on.
//!
//! A new user account on a new machine has no known_hosts yet; with these keys, its first fetch
//! does not trust an unknown key. Every fingerprint is published by its forge on the page in
//! `source`. They were compared with copies of these pages for GitHub and GitLab, and with
//! quotations of them for Codeberg (2026-04) and SourceHut (2025-07).

use crate::ssh::HostKey;

/// A forge and its host keys.
#[derive(Debug, Clone, Copy)]
pub struct Forge {
    /// Host names that present these keys.
    pub hosts: &'static [&'static str],
    pub keys: &'static [ForgeKey],
}

/// A host key and the fingerprint that its forge publishes.
#[derive(Debug, Clone, Copy)]
pub struct ForgeKey {
    algorithm: &'static str,
    base64: &'static str,
    pub fingerprint: &'static str,
}

impl Forge {
    /// Parses the forge's keys.
    pub fn host_keys(&self) -> Vec<HostKey> {
        let key = |key: &ForgeKey| HostKey::new(key.algorithm, key.base64).ok();
        self.keys.iter().filter_map(key).collect()
    }
}

/// Returns the published keys of `host`; `None` when it is not a forge of this list.
pub fn forge_keys(host: &str) -> Option<Vec<HostKey>> {
    let host = host.to_ascii_lowercase();
    FORGES.iter().find(|forge| forge.hosts.contains(&host.as_str())).map(Forge::host_keys)
}

const fn key(algorithm: &'static str, fingerprint: &'static str, base64: &'static str) -> ForgeKey {
    ForgeKey { algorithm, base64, fingerprint }
}

const ED25519: &str = "ssh-ed25519";
const ECDSA: &str = "ecdsa-sha2-nistp256";
const RSA: &str = "ssh-rsa";

pub const FORGES: &[Forge] = &[
    Forge {
        // ssh.github.com listens on port 443, for networks that block port 22.
        hosts: &["github.com", "ssh.github.com"],
        // Published at https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/githubs-ssh-key-fingerprints.
        keys: &[
            key(
                ED25519,
                "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU",
                "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
            ),
            key(
                ECDSA,
                "SHA256:p2QAMXNIC1TJYWeIOttrVc98/R1BUFWu3/LiyKgUfQM",
                "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9\
                 nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=",
            ),
            key(
                RSA,
                "SHA256:uNiVztksCsDhcc0u9e8BujQXVUpKZIDTMczCvj3tD2s",
                "AAAAB3NzaC1yc2EAAAADAQABAAABgQCj7ndNxQowgcQnjshcLrqPEiiphnt+VTTvDP6mHBL9j1aNUkY4\
                 Ue1gvwnGLVlOhGeYrnZaMgRK6+PKCUXaDbC7qtbW8gIkhL7aGCsOr/C56SJMy/BCZfxd1nWzAOxSDPgV\
                 smerOBYfNqltV9/hWCqBywINIR+5dIg6JTJ72pcEpEjcYgXkE2YEFXV1JHnsKgbLWNlhScqb2UmyRkQy\
                 ytRLtL+38TGxkxCflmO+5Z8CSSNY7GidjMIZ7Q4zMjA2n1nGrlTDkzwDCsw+wqFPGQA179cnfGWOWRVr\
                 uj16z6XyvxvjJwbz0wQZ75XK5tKSb7FNyeIEs4TT4jk+S4dhPeAUC5y+bDYirYgM4GC7uEnztnZyaVWQ\
                 7B381AK4Qdrwt51ZqExKbQpTUNn+EjqoTwvqNj4kqx5QUCI0ThS/YkOxJCXmPUWZbhjpCg56i+2aB6Cm\
                 K2JGhn57K5mj0MNdBXA4/WnwH6XoPWJzK5Nyu2zB3nAZp+S5hpQs+p1vN1/wsjk=",
            ),
        ],
    },
    Forge {
        hosts: &["gitlab.com"],
        // Published at https://docs.gitlab.com/user/gitlab_com/#ssh-host-keys-fingerprints.
        keys: &[
            key(
                ED25519,
                "SHA256:eUXGGm1YGsMAS7vkcx6JOJdOGHPem5gQp4taiCfCLB8",
                "AAAAC3NzaC1lZDI1NTE5AAAAIAfuCHKVTjquxvt6CM6tdG4SLp1Btn/nOeHHE5UOzRdf",
            ),
            key(
                ECDSA,
                "SHA256:HbW3g8zUjNSksFbqTiUWPWg2Bq1x8xdGUrliXFzSnUw",
                "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBFSMqzJeV9rUzU4kWitGjeR4PWSa\
                 29SPqJ1fVkhtj3Hw9xjLVXVYrU9QlYWrOLXBpQ6KWjbjTDTdDkoohFzgbEY=",
            ),
            key(
                RSA,
                "SHA256:ROQFvPThGrW4RuWLoL9tq9I9zJ42fK4XywyRtbOz/EQ",
                "AAAAB3NzaC1yc2EAAAADAQABAAABAQCsj2bNKTBSpIYDEGk9KxsGh3mySTRgMtXL583qmBpzeQ+jqCMR\
                 gBqB98u3z++J1sKlXHWfM9dyhSevkMwSbhoR8XIq/U0tCNyokEi/ueaBMCvbcTHhO7FcwzY92WK4Yt0a\
                 GROY5qX2UKSeOvuP4D6TPqKF1onrSzH9bx9XUf2lEdWT/ia1NEKjunUqu1xOB/StKDHMoX4/OKyIzuS0\
                 q/T1zOATthvasJFoPrAjkohTyaDUz2LN5JoH839hViyEG82yB+MjcFV5MU3N1l1QL3cVUCh93xSaua1N\
                 85qivl+siMkPGbO5xR/En4iEY6K2XPASUEMaieWVNTRCtJ4S8H+9",
            ),
        ],
    },
    Forge {
        hosts: &["codeberg.org"],
        // Published at https://docs.codeberg.org/security/ssh-fingerprint/.
        keys: &[
            key(
                ED25519,
                "SHA256:mIlxA9k46MmM6qdJOdMnAQpzGxF4WIVVL+fj+wZbw0g",
                "AAAAC3NzaC1lZDI1NTE5AAAAIIVIC02vnjFyL+I4RHfvIGNtOgJMe769VTF1VR4EB3ZB",
            ),
            key(
                ECDSA,
                "SHA256:T9FYDEHELhVkulEKKwge5aVhVTbqCW0MIRwAfpARs/E",
                "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBL2pDxWr18SoiDJCGZ5LmxPygTlP\
                 u+cCKSkpqkvCyQzl5xmIMeKNdfdBpfbCGDPoZQghePzFZkKJNR/v9Win3Sc=",
            ),
            key(
                RSA,
                "SHA256:6QQmYi4ppFS4/+zSZ5S4IU+4sa6rwvQ4PbhCtPEBekQ",
                "AAAAB3NzaC1yc2EAAAADAQABAAABAQC8hZi7K1/2E2uBX8gwPRJAHvRAob+3Sn+y2hxiEhN0buv1igjY\
                 FTgFO2qQD8vLfU/HT/P/rqvEeTvaDfY1y/vcvQ8+YuUYyTwE2UaVU5aJv89y6PEZBYycaJCPdGIfZlLM\
                 mjilh/Sk8IWSEK6dQr+g686lu5cSWrFW60ixWpHpEVB26eRWin3lKYWSQGMwwKv4LwmW3ouqqs4Z4vsq\
                 RFqXJ/eCi3yhpT+nOjljXvZKiYTpYajqUC48IHAxTWugrKe1vXWOPxVXXMQEPsaIRc2hpK+v1LmfB7Gn\
                 EGvF1UAKnEZbUuiD9PBEeD5a1MZQIzcoPWCrTxipEpuXQ5Tni4mN",
            ),
        ],
    },
    Forge {
        hosts: &["git.sr.ht"],
        // Published at https://man.sr.ht/git.sr.ht/#ssh-host-keys.
        keys: &[
            key(
                ED25519,
                "SHA256:WXXNZu0YyoE3KBl5qh4GsnF1vR0NeEPYJAiPME+P09g",
                "AAAAC3NzaC1lZDI1NTE5AAAAIMZvRd4EtM7R+IHVMWmDkVU3VLQTSwQDSAvW0t2Tkj60",
            ),
            key(
                ECDSA,
                "SHA256:1nUUjsHH0qwfjI3dYFWlXTjPUP/Un1oo6wfu9YL8tCQ",
                "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBCj6y+cJlqK3BHZRLZuM+KP2zGPr\
                 h4H66DacfliU1E2DHAd1GGwF4g1jwu3L8gOZUTIvUptqWTkmglpYhFp4Iy4=",
            ),
            key(
                RSA,
                "SHA256:rvz/I0S1T/9If9+/CU0HDTF8AV4MPu5Gkkxsb7vUTH4",
                "AAAAB3NzaC1yc2EAAAADAQABAAABAQDZ+l/lvYmaeOAPeijHL8d4794Am0MOvmXPyvHTtrqvgmvCJB8p\
                 en/qkQX2S1fgl9VkMGSNxbp7NF7HmKgs5ajTGV9mB5A5zq+161lcp5+f1qmn3Dp1MWKp/AzejWXKW+dw\
                 PBd3kkudDBA1fa3uK6g1gK5nLw3qcuv/V4emX9zv3P2ZNlq9XRvBxGY2KzaCyCXVkL48RVTTJJnYbVdR\
                 uq8/jQkDRA8lHvGvKI+jqnljmZi2aIrK9OGT2gkCtfyTw2GvNDV6aZ0bEza7nDLU/I+xmByAOO79R1Uk\
                 4EYCvSc1WXDZqhiuO2sZRmVxa0pQSBDn1DB3rpvqPYW+UvKB3SOz",
            ),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_the_fingerprint_that_its_forge_publishes() {
        for forge in FORGES {
            let keys = forge.host_keys();
            assert_eq!(keys.len(), forge.keys.len(), "{:?}", forge.hosts);
            for (key, listed) in keys.iter().zip(forge.keys) {
                assert_eq!(key.fingerprint(), listed.fingerprint, "{:?}", forge.hosts);
            }
        }
    }

    #[test]
    fn a_forge_is_found_by_each_of_its_names_and_by_no_other() {
        assert_eq!(forge_keys("ssh.github.com"), forge_keys("GitHub.com"));
        assert_eq!(forge_keys("git.sr.ht").map(|keys| keys.len()), Some(3));
        assert_eq!(forge_keys("github.com.example.org"), None);
    }
}
