//! Where other people keep their rules: found without settings, or the reason is told.

use crate::common::secrets::{Home, SHARED};

fn add(file: &str) -> Vec<&str> {
    vec!["secrets", "add-host", "new", "--yes", "--key", "../host.pub", "--file", file]
}

fn rule(regex: &str) -> String {
    format!("creation_rules:\n  - path_regex: {regex}\n    age: OPERATOR\n")
}

/// Moves the rules into a folder of the repository.
fn move_rules(home: &Home, to: &str) {
    let to = home.path("secrets").join(to);
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::rename(home.path("secrets/.sops.yaml"), to).unwrap();
    home.commit();
}

#[test]
fn rules_below_a_folder_are_found_and_their_paths_are_relative_to_it() {
    let Some(home) = Home::with(&rule("^a\\.yaml$"), &[("secrets/a.yaml", SHARED)]) else { return };
    move_rules(&home, "secrets/.sops.yaml");
    home.ok(&add("secrets/a.yaml"));
    home.opened_by_host("secrets/a.yaml").unwrap();
}

#[test]
fn in_a_folder_with_rules_of_its_own_these_are_meant() {
    let Some(home) = Home::with(&rule("^x$"), &[("deep/a.yaml", SHARED)]) else { return };
    let operator = home.operator.recipient().to_string();
    home.write("deep/.sops.yaml", &rule("^a\\.yaml$").replace("OPERATOR", &operator));
    home.commit();
    let before = home.read(".sops.yaml");
    let mut args = add("a.yaml");
    args[5] = "../../host.pub";
    let ran = home.ran(home.command(&args).current_dir(home.path("secrets/deep")));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    home.opened_by_host("deep/a.yaml").unwrap();
    assert!(home.read("deep/.sops.yaml").contains("# new") && home.read(".sops.yaml") == before);
}

#[test]
fn rules_that_git_does_not_know_yet_are_found() {
    let Some(home) = Home::with(&rule("^a\\.yaml$"), &[("a.yaml", SHARED)]) else { return };
    home.git(&["rm", "-q", "--cached", ".sops.yaml"]);
    home.git(&["commit", "-q", "-m", "without rules"]);
    home.ok(&add("a.yaml"));
    home.opened_by_host("a.yaml").unwrap();
}

#[test]
fn outside_of_git_it_works_too() {
    let Some(home) = Home::with(&rule("^a\\.yaml$"), &[("a.yaml", SHARED)]) else { return };
    std::fs::remove_dir_all(home.path("secrets/.git")).unwrap();
    home.ok(&add("a.yaml"));
    home.opened_by_host("a.yaml").unwrap();
}

#[test]
fn generated_rules_are_left_alone_and_the_command_is_named() {
    let generated =
        format!("# This file is generated: run `nix run .#sops-config`.\n{}", rule("^a\\.yaml$"));
    let Some(home) = Home::with(&generated, &[("a.yaml", SHARED)]) else { return };
    home.refused(&add("a.yaml"), 2, &["generated", "nix run .#sops-config"]);
}

#[test]
fn without_rules_the_reason_is_told() {
    let Some(home) = Home::with("", &[]) else { return };
    std::fs::remove_file(home.path("secrets/.sops.yaml")).unwrap();
    home.commit();
    home.refused(&add("a.yaml"), 2, &["no secrets in", ".sops.yaml", "landfall.toml"]);
}
