//! Links in a repository of secrets: those inside are followed, and a link that leads out
//! of it never gets anything written for it.

use std::os::unix::fs::symlink;

use crate::common::secrets::{CONFIG, Home, SHARED};

const CATCH_ALL: &str = "keys:\n  - &me OPERATOR\n  - &old age1hjm3aujg9e79f5yth8a2cejzdjg5n9vnu96l05p70uvfpeltnpms7yy3pp\ncreation_rules:\n  - path_regex: .*\n    key_groups:\n      - age:\n          - *me\n          - *old\n";
const OLD: &str = "age1hjm3aujg9e79f5yth8a2cejzdjg5n9vnu96l05p70uvfpeltnpms7yy3pp";

fn add<'a>(what: &'a str, name: &'a str) -> Vec<&'a str> {
    vec!["secrets", "add-host", "new", "--yes", "--key", "../host.pub", what, name]
}

#[test]
fn a_link_out_of_the_repository_is_refused_by_name_and_nothing_is_written_there() {
    let Some(home) = Home::with(CATCH_ALL, &[("shared.yaml", SHARED)]) else { return };
    let outside = home.path("elsewhere/other.yaml");
    std::fs::create_dir(home.path("elsewhere")).unwrap();
    std::fs::copy(home.path("secrets/shared.yaml"), &outside).unwrap();
    let before = std::fs::read(&outside).unwrap();
    let absolute = outside.display().to_string();
    let link = home.path("secrets/theirs.yaml");
    for target in ["../elsewhere/other.yaml", &absolute] {
        symlink(target, &link).unwrap();
        home.commit();
        for args in [
            &["secrets", "updatekeys", "--yes", "--grant", OLD][..],
            &["secrets", "rotate", "--yes"],
            &["secrets", "verify", "--all"],
            &["secrets", "updatekeys", "--check"],
            &add("--file", "theirs.yaml"),
            &add("--file", "shared.yaml"),
        ] {
            home.refused(args, 2, &["theirs.yaml", "leads out of the repository"]);
        }
        assert_eq!(std::fs::read(&outside).unwrap(), before);
        std::fs::remove_file(&link).unwrap();
    }
    // By a folder, and by the rules themselves.
    symlink("../elsewhere", home.path("secrets/folder")).unwrap();
    home.refused(&add("--file", "folder/other.yaml"), 2, &["leads out of the repository"]);
    std::fs::remove_file(home.path("secrets/folder")).unwrap();
    std::fs::rename(home.path("secrets/.sops.yaml"), home.path("elsewhere/rules")).unwrap();
    symlink("../elsewhere/rules", home.path("secrets/.sops.yaml")).unwrap();
    home.refused(&add("--file", "shared.yaml"), 2, &[".sops.yaml", "leads out of the repository"]);
    assert_eq!(std::fs::read(&outside).unwrap(), before);
}

#[test]
fn links_inside_lead_to_the_file_whose_rule_holds() {
    let Some(home) = Home::with(CONFIG, &[("real/shared.yaml", SHARED)]) else { return };
    let secrets = home.path("secrets");
    let absolute = secrets.join("real/shared.yaml").display().to_string();
    let ways = [
        ("shared.yaml", "real/shared.yaml"),
        ("shared.yaml", "real/../real/./shared.yaml"),
        ("shared.yaml", "../secrets/real/shared.yaml"),
        ("shared.yaml", &absolute),
        ("shared.yaml", "folder/shared.yaml"),
    ];
    symlink("real", secrets.join("folder")).unwrap();
    for (name, target) in ways {
        symlink(target, secrets.join(name)).unwrap();
        home.commit();
        let said = home.ok(&add("--file", name));
        assert!(said.contains("re-encrypted: real/shared.yaml"), "{target}: {said}");
        assert!(said.ends_with("-- .sops.yaml real/shared.yaml\n"), "{target}: {said}");
        home.opened_by_host("real/shared.yaml").unwrap();
        home.commit();
        home.ok(&["secrets", "verify", "--all"]);
        home.ok(&["secrets", "remove-host", "new", "--yes"]);
        home.opened_by_host("real/shared.yaml").unwrap_err();
        std::fs::remove_file(secrets.join(name)).unwrap();
        home.commit();
    }
}

#[test]
fn a_link_to_what_is_no_encrypted_file_is_no_obstacle() {
    let Some(home) = Home::new() else { return };
    let secrets = home.path("secrets");
    symlink("/etc/hostname", secrets.join("plain")).unwrap();
    symlink("/nonexistent", secrets.join("dangling")).unwrap();
    symlink("..", secrets.join("above")).unwrap();
    home.commit();
    home.ok(&add("--file", "shared.yaml"));
}
