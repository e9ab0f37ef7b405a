//! The files that `landfall init` writes, and the rendering of names into them.
//!
//! The templates are a working configuration for the host `guppy` of the user
//! `alice`, so that they can be read, evaluated and tested as they are. Rendering
//! replaces those sample values, each in one pass, so that a name which contains
//! another sample value is not replaced twice.

use std::path::PathBuf;

/// A file with sample values, embedded in the program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Template {
    /// Relative to the repository.
    pub(crate) path: &'static str,
    pub(crate) text: &'static str,
}

macro_rules! templates {
    ($repo:literal: $($path:literal),+ $(,)?) => {
        &[$(Template {
            path: $path,
            text: include_str!(concat!("../../templates/", $repo, "/", $path)),
        }),+]
    };
}

/// The files of nix-config.
pub(crate) const NIX_CONFIG: &[Template] = templates!("nix-config":
    ".gitignore",
    "README.md",
    "flake.nix",
    "hosts/common/core/boot.nix",
    "hosts/common/core/default.nix",
    "hosts/common/core/network.nix",
    "hosts/common/core/nix.nix",
    "hosts/common/core/openssh.nix",
    "hosts/common/core/sops.nix",
    "hosts/common/disks/bios.nix",
    "hosts/common/disks/btrfs-disk.nix",
    "hosts/common/disks/btrfs-luks-disk.nix",
    "hosts/common/disks/btrfs-luks-impermanence-disk.nix",
    "hosts/common/disks/ext4-disk.nix",
    "hosts/common/users/authorized_keys",
    "hosts/common/users/default.nix",
    "hosts/nixos/guppy/default.nix",
    "hosts/nixos/guppy/disks.nix",
    "justfile",
    "nixos-installer/flake.nix",
    "nixos-installer/iso/default.nix",
    "nixos-installer/minimal-configuration.nix",
    "vars.nix",
);

/// The files of nix-secrets, without the hosts' encrypted ones.
pub(crate) const NIX_SECRETS: &[Template] = templates!("nix-secrets":
    ".gitignore",
    ".sops.yaml",
    "flake.nix",
    "justfile",
);

const SAMPLE_HOST: &str = "guppy";
const SAMPLE_USER: &str = "alice";
const SAMPLE_URL: &str = "git+ssh://git@example.org/alice/nix-secrets.git?ref=main&shallow=1";
const SAMPLE_IMPORTS: &str = "  imports = [ ../../common/disks/btrfs-luks-disk.nix ];\n";
const SAMPLE_DISK: &str = "\"/dev/vda\"";
const SAMPLE_KEY: &str = "  - &user_alice AGE_RECIPIENT\n";
const SAMPLE_ALIAS: &str = "          - *user_alice\n";
const AUTHORIZED_KEYS: &str = "hosts/common/users/authorized_keys";

/// The module, below `hosts`, that a disk layout needs in addition on a machine with BIOS.
pub(crate) const BIOS_MODULE: &str = "common/disks/bios.nix";

/// The machine's firmware, which decides on the boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Firmware {
    /// By systemd-boot
    Uefi,
    /// By GRUB
    Bios,
}

/// The values that replace the sample ones. All of them are validated: none needs quoting in
/// Nix or YAML.
#[derive(Debug, Clone)]
pub(crate) struct TemplateValues {
    pub(crate) host: String,
    pub(crate) user: String,
    /// Flake URL of the nix-secrets input.
    pub(crate) secrets_url: String,
    /// File name in `hosts/common/disks`, without `-disk.nix`.
    pub(crate) layout: String,
    pub(crate) firmware: Firmware,
    /// Path of the host's disk, best in /dev/disk/by-id.
    pub(crate) disk: String,
    /// Public age keys of the operator, at least one.
    pub(crate) recipients: Vec<String>,
    /// Lines of an authorized_keys file.
    pub(crate) authorized_keys: String,
}

impl Template {
    /// Renders the path and the text with `values`.
    pub(crate) fn render(&self, values: &TemplateValues) -> (PathBuf, String) {
        let path = self.path.replace(SAMPLE_HOST, &values.host);
        let text = replace_all(
            self.text,
            &[
                (SAMPLE_URL, values.secrets_url.clone()),
                (SAMPLE_IMPORTS, imports(values)),
                (SAMPLE_DISK, format!("\"{}\"", values.disk)),
                (SAMPLE_KEY, key_lines(values)),
                (SAMPLE_ALIAS, alias_lines(values)),
                (SAMPLE_HOST, values.host.clone()),
                (SAMPLE_USER, values.user.clone()),
            ],
        );
        if self.path == AUTHORIZED_KEYS {
            return (path.into(), text + &values.authorized_keys);
        }
        (path.into(), text)
    }
}

/// Renders the imports of the host's disks.nix: its layout, and with BIOS [`BIOS_MODULE`].
fn imports(values: &TemplateValues) -> String {
    let layout = format!("../../common/disks/{}-disk.nix", values.layout);
    match values.firmware {
        Firmware::Uefi => format!("  imports = [ {layout} ];\n"),
        Firmware::Bios => format!("  imports = [\n    {layout}\n    ../../{BIOS_MODULE}\n  ];\n"),
    }
}

/// Names an anchor for each of the operator's keys: `user_alice`, `user_alice_2`, ….
fn anchors(values: &TemplateValues) -> impl Iterator<Item = (String, &String)> {
    values.recipients.iter().enumerate().map(|(index, recipient)| {
        let suffix = if index == 0 { String::new() } else { format!("_{}", index + 1) };
        (format!("user_{}{suffix}", values.user), recipient)
    })
}

fn key_lines(values: &TemplateValues) -> String {
    anchors(values).map(|(anchor, recipient)| format!("  - &{anchor} {recipient}\n")).collect()
}

fn alias_lines(values: &TemplateValues) -> String {
    anchors(values).map(|(anchor, _)| format!("          - *{anchor}\n")).collect()
}

/// Replaces every `from` by its `to`; where several match at one place, the first listed wins.
fn replace_all(text: &str, replacements: &[(&str, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        match replacements.iter().find(|(from, _)| rest.starts_with(from)) {
            Some((from, to)) => {
                out.push_str(to);
                rest = &rest[from.len()..];
            }
            None => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn values() -> TemplateValues {
        TemplateValues {
            host: "alice-laptop".into(),
            user: "bob".into(),
            secrets_url: "git+ssh://git@forge/bob/s.git?ref=main&shallow=1".into(),
            layout: "btrfs-luks-impermanence".into(),
            firmware: Firmware::Uefi,
            disk: "/dev/disk/by-id/nvme-1".into(),
            recipients: vec!["age1one".into(), "age1two".into()],
            authorized_keys: "ssh-ed25519 AAAA bob\n".into(),
        }
    }

    fn rendered(templates: &[Template], path: &str) -> String {
        templates
            .iter()
            .map(|template| template.render(&values()))
            .find(|(rendered, _)| rendered == Path::new(path))
            .unwrap_or_else(|| panic!("no template renders to {path}"))
            .1
    }

    #[test]
    fn no_sample_value_is_left() {
        for template in NIX_CONFIG.iter().chain(NIX_SECRETS) {
            let (path, text) = template.render(&values());
            for sample in [SAMPLE_HOST, "alice\"", "AGE_RECIPIENT", "example.org", SAMPLE_DISK] {
                assert!(!text.contains(sample), "{sample} in {}", path.display());
            }
        }
    }

    #[test]
    fn names_are_replaced_once() {
        let host = rendered(NIX_CONFIG, "hosts/nixos/alice-laptop/default.nix");
        assert!(host.contains("hostName = \"alice-laptop\""), "{host}");
        let disks = rendered(NIX_CONFIG, "hosts/nixos/alice-laptop/disks.nix");
        assert!(disks.contains("common/disks/btrfs-luks-impermanence-disk.nix ]"), "{disks}");
        assert!(disks.contains("device = \"/dev/disk/by-id/nvme-1\""), "{disks}");
    }

    #[test]
    fn a_bios_gets_a_boot_loader_of_its_own() {
        let disks = NIX_CONFIG.iter().find(|t| t.path == "hosts/nixos/guppy/disks.nix").unwrap();
        let (_, text) = disks.render(&TemplateValues { firmware: Firmware::Bios, ..values() });
        let imports = "imports = [\n    ../../common/disks/btrfs-luks-impermanence-disk.nix\n    \
                       ../../common/disks/bios.nix\n  ];";
        assert!(text.contains(imports), "{text}");
        assert!(NIX_CONFIG.iter().any(|template| template.path == format!("hosts/{BIOS_MODULE}")));
    }

    #[test]
    fn every_recipient_has_an_anchor_and_is_in_the_rule() {
        let config = rendered(NIX_SECRETS, ".sops.yaml");
        for line in ["  - &user_bob age1one\n", "  - &user_bob_2 age1two\n"] {
            assert!(config.contains(line), "{config}");
        }
        assert!(config.contains("          - *user_bob\n          - *user_bob_2\n"), "{config}");
        assert!(config.contains(r"path_regex: ^sops/alice-laptop\.yaml$"), "{config}");
    }

    #[test]
    fn every_file_of_the_templates_is_embedded() {
        for (repo, templates) in [("nix-config", NIX_CONFIG), ("nix-secrets", NIX_SECRETS)] {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates").join(repo);
            let mut on_disk = BTreeSet::new();
            collect(&root, &root, &mut on_disk);
            let embedded = templates.iter().map(|t| t.path.to_owned()).collect::<BTreeSet<_>>();
            assert_eq!(on_disk, embedded);
        }
    }

    fn collect(root: &Path, dir: &Path, into: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(root, &path, into);
            } else {
                into.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
}
