//! Evaluating, building and copying with the real nix.
//!
//! The flake of these tests needs no nixpkgs: its derivations call /bin/sh.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::git::{git, identify};
use crate::common::sshd::{Sshd, keygen};
use crate::common::users::{PASSWORD, Rules, endpoint, machine};
use landfall::error::{Advice, Exit};
use landfall::nix::{Nix, NixError, NixOptions, Report, Store, StorePath, Substitutes};
use landfall::ssh::Session;
use tempfile::TempDir;

const FLAKE: &str = r#"{
  inputs.dep.url = "path:@DEP@";
  outputs = { self, dep }: let
    make = name: script: derivation {
      inherit name; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" script ];
    };
    stamp = "@STAMP@";
  in {
    hello = make "hello-1.0" "echo said by the builder; echo ${stamp} > $out";
    top = make "top-1.0" "echo ${self.hello} > $out";
    broken = make "broken-1.0" "echo boom-in-the-builder >&2; exit 3";
    needs = make "needs-1.0" "echo ${self.broken} > $out";
    evil = throw "no such host";
    warned = builtins.warn "beware of it" self.hello;
    hosts = { a = 1; b = 2; };
    value = dep.value;
  };
}
"#;

/// A flake in a git repository, with an input beside it.
struct Flake {
    dir: TempDir,
    reference: String,
}

impl Flake {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let flake = dir.path().join("flake");
        fs::create_dir(&flake).unwrap();
        write_dep(&dir.path().join("dep"), "1");
        write_dep(&dir.path().join("other"), "\"other\"");
        // Own derivations for each test: they run at the same time in one store.
        let stamp = dir.path().file_name().unwrap().to_str().unwrap();
        let text = FLAKE
            .replace("@DEP@", dir.path().join("dep").to_str().unwrap())
            .replace("@STAMP@", stamp);
        fs::write(flake.join("flake.nix"), text).unwrap();
        git(&flake, &["init", "-q", "-b", "main", "."]);
        identify(&flake);
        git(&flake, &["add", "."]);
        let reference = format!("git+file://{}", flake.display());
        Self { dir, reference }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("flake")
    }

    fn attr(&self, name: &str) -> String {
        format!("{}#{name}", self.reference)
    }

    /// A store of its own, as the target's store below /mnt is one.
    fn store(&self) -> String {
        format!("local?root={}", self.dir.path().join("mnt").display())
    }
}

fn write_dep(dir: &Path, value: &str) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("flake.nix"), format!("{{ outputs = _: {{ value = {value}; }}; }}"))
        .unwrap();
}

/// Nix, unless there is none on this machine.
fn nix() -> Option<Nix> {
    crate::common::have("nix").then(|| Nix::find(NixOptions::default()).unwrap())
}

#[test]
fn values_are_evaluated_and_the_lock_file_is_left_alone() {
    let Some(nix) = nix() else { return };
    let flake = Flake::new();
    let names: Vec<String> =
        nix.eval_json(&flake.attr("hosts"), Some("builtins.attrNames")).unwrap();
    assert_eq!(names, ["a", "b"]);
    let value: u32 = nix.eval_json(&flake.attr("value"), None).unwrap();
    assert_eq!(value, 1);
    let other = format!("path:{}", flake.dir.path().join("other").display());
    let value: String =
        nix.with_override("dep", &other).eval_json(&flake.attr("value"), None).unwrap();
    assert_eq!(value, "other");
    assert!(!flake.path().join("flake.lock").exists());
    let wrong: Result<String, _> = nix.eval_json(&flake.attr("hosts"), None);
    assert!(matches!(wrong.unwrap_err(), NixError::Output { .. }));
}

#[test]
fn an_error_of_the_configuration_begins_with_its_cause() {
    let Some(nix) = nix() else { return };
    let flake = Flake::new();
    let error = nix.eval_json::<u32>(&flake.attr("evil"), None).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, NixError::Eval { .. }), "{error:?}");
    let first = text.lines().next().unwrap();
    assert!(first.ends_with("does not evaluate: no such host"), "{text}");
    assert!(text.contains("flake.nix:"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    assert_eq!(error.exit(), Exit::Usage);
    let error = nix.eval_json::<u32>(&flake.attr("nothing"), None).unwrap_err();
    assert!(error.to_string().contains("does not provide attribute"), "{error}");
}

#[test]
fn builds_give_their_outputs_and_tell_how_far_they_are() {
    let Some(nix) = nix() else { return };
    let flake = Flake::new();
    let mut reports = Vec::new();
    let (hello, top) = (flake.attr("hello"), flake.attr("top"));
    let built = nix.build(&[&top, &hello], &mut |report| reports.push(report)).unwrap();
    let names: Vec<&str> = built.iter().map(StorePath::name).collect();
    assert_eq!(names, ["top-1.0", "hello-1.0"]);
    let Some(Report::Progress(last)) = reports.last() else { panic!("{reports:?}") };
    assert_eq!(last.items_done, Some(2), "{reports:?}");
    assert!(!reports.iter().any(|report| matches!(report, Report::BuildLog(_))));

    let closure = nix.closure(&built[0]).unwrap();
    assert!(closure.contains(&built[1]) && closure.contains(&built[0]));
    assert!(nix.closure_size(&built[0]).unwrap() > nix.closure_size(&built[1]).unwrap());
}

#[test]
fn lines_of_builders_are_told_to_those_who_ask() {
    if !crate::common::have("nix") {
        return;
    }
    let flake = Flake::new();
    let nix = Nix::find(NixOptions { print_build_logs: true, ..NixOptions::default() }).unwrap();
    let mut lines = Vec::new();
    nix.build(&[&flake.attr("hello")], &mut |report| {
        if let Report::BuildLog(line) = report {
            lines.push(line);
        }
    })
    .unwrap();
    assert_eq!(lines, ["said by the builder"]);
}

#[test]
fn a_failed_build_shows_what_its_builder_said_last() {
    let Some(nix) = nix() else { return };
    let flake = Flake::new();
    let error = nix.build(&[&flake.attr("needs")], &mut |_| {}).unwrap_err();
    assert!(matches!(error, NixError::Build { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("broken-1.0") && text.contains("boom-in-the-builder"), "{text}");
    assert_eq!(error.exit(), Exit::Failed);
}

#[test]
fn warnings_of_the_configuration_are_told_and_a_dirty_tree_is_none() {
    let Some(nix) = nix() else { return };
    let flake = Flake::new();
    let mut warnings = Vec::new();
    nix.build(&[&flake.attr("warned")], &mut |report| {
        if let Report::Warning(text) = report {
            warnings.push(text);
        }
    })
    .unwrap();
    assert_eq!(warnings, ["beware of it"]);
}

#[test]
fn closures_are_copied_and_found_on_the_other_side() {
    let Some(nix) = nix() else { return };
    let flake = Flake::new();
    let store = flake.store();
    let top = nix.build(&[&flake.attr("top")], &mut |_| {}).unwrap().remove(0);
    assert!(!nix.is_valid_in(&store, &top, "").unwrap());
    let mut last = None;
    let to = Store { uri: &store, ssh_opts: "" };
    nix.copy(None, to, std::slice::from_ref(&top), Substitutes::None, &mut |report| {
        if let Report::Progress(progress) = report {
            last = Some(progress);
        }
    })
    .unwrap();
    assert!(nix.is_valid_in(&store, &top, "").unwrap());
    assert!(nix.is_valid_in("auto", &top, "").unwrap());
    let last = last.unwrap();
    assert_eq!((last.items_done, last.items_total), (Some(2), Some(2)));
    assert_eq!(last.bytes_done, last.bytes_total);
}

/// A server whose logins find nix, with the settings of this process.
fn server_with_nix() -> Sshd {
    let dir = tempfile::tempdir().unwrap();
    let key = keygen(dir.path(), "host", "ed25519");
    Sshd::start_with(dir, &[key], &nix_environment())
}

fn nix_environment() -> String {
    let nix = ["PATH", "NIX_REMOTE", "NIX_CONF_DIR", "NIX_USER_CONF_FILES", "NIX_CACHE_HOME"];
    let set: String = nix
        .iter()
        .filter_map(|name| Some(format!(" \"{name}={}\"", std::env::var(name).ok()?)))
        .collect();
    format!("SetEnv{set}")
}

#[test]
fn closures_travel_to_root_where_sudo_asks_for_a_password() {
    let Some(nix) = nix() else { return };
    if !crate::common::have("nix-daemon") {
        return;
    }
    let sshd = nix_environment();
    let rules = Rules { sudoers: "lander ALL=(ALL:ALL) ALL", sshd: &sshd, ..Rules::default() };
    let Some(server) = machine(&rules) else { return };
    let flake = Flake::new();
    let limit = Duration::from_secs(60);
    let mut session =
        Session::open(&endpoint(&server), &server.host_key, server.dir.path(), limit).unwrap();
    session.use_sudo_password(PASSWORD.to_owned().into()).unwrap().unwrap();
    let mnt = flake.dir.path().join("mnt");
    let (url, opts) = (session.nix_store_url(mnt.to_str()), session.nix_ssh_opts());
    assert_eq!(session.nix_store_url(mnt.to_str()), url);
    assert_ne!(session.nix_store_url(None), url);

    let top = nix.build(&[&flake.attr("top")], &mut |_| {}).unwrap().remove(0);
    assert!(!nix.is_valid_in(&url, &top, &opts).unwrap());
    let (to, paths) = (Store { uri: &url, ssh_opts: &opts }, std::slice::from_ref(&top));
    nix.copy(None, to, paths, Substitutes::ByDestination, &mut |_| {}).unwrap();
    assert!(nix.is_valid_in(&url, &top, &opts).unwrap());
    assert!(mnt.join(&top.as_str()[1..]).exists());
    let source = nix.flake_archive_to(&flake.reference, &url, &opts, &mut |_| {}).unwrap();
    assert!(nix.is_valid_in(&url, &source, &opts).unwrap());

    // Without the machine it is an error, not a wait.
    drop(session);
    assert!(nix.is_valid_in(&url, &top, &opts).is_err());
}

#[test]
fn closures_and_sources_travel_over_a_session_and_nothing_else_logs_in() {
    let Some(nix) = nix() else { return };
    if !crate::common::have("nix-daemon") {
        return;
    }
    let flake = Flake::new();
    let server = server_with_nix();
    let limit = Duration::from_secs(20);
    let session =
        Session::open(&server.endpoint(), &server.host_key, server.dir.path(), limit).unwrap();
    let mnt = flake.dir.path().join("mnt");
    let url = session.nix_store_url(mnt.to_str());
    let opts = session.nix_ssh_opts();

    let top = nix.build(&[&flake.attr("top")], &mut |_| {}).unwrap().remove(0);
    assert!(!nix.is_valid_in(&url, &top, &opts).unwrap());
    let (to, paths) = (Store { uri: &url, ssh_opts: &opts }, std::slice::from_ref(&top));
    nix.copy(None, to, paths, Substitutes::None, &mut |_| {}).unwrap();
    assert!(nix.is_valid_in(&url, &top, &opts).unwrap());
    assert!(mnt.join(&top.as_str()[1..]).exists());
    let source = nix.flake_archive_to(&flake.reference, &url, &opts, &mut |_| {}).unwrap();
    assert!(nix.is_valid_in(&url, &source, &opts).unwrap());

    let log = fs::read_to_string(server.dir.path().join("log")).unwrap();
    assert_eq!(log.matches("Accepted publickey").count(), 1, "{log}");

    // The pin holds for nix as well when the master is gone.
    let wrong = keygen(flake.dir.path(), "wrong", "ed25519").public;
    let pinned = opts.split(' ').find_map(|arg| arg.strip_prefix("-oUserKnownHostsFile=")).unwrap();
    let pin = fs::read_to_string(pinned).unwrap();
    let alias = pin.split(' ').next().unwrap();
    fs::write(pinned, wrong.known_hosts_line(alias)).unwrap();
    let unmastered = opts.replace("-oControlPath=", "-oControlPath=/nowhere");
    let error = nix.is_valid_in(&url, &top, &unmastered).unwrap_err();
    assert!(error.to_string().contains("Host key verification failed"), "{error}");
}

#[test]
fn locks_move_one_at_a_time_and_sources_travel() {
    let Some(nix) = nix() else { return };
    let flake = Flake::new();
    nix.flake_update_input(&flake.path(), "dep").unwrap();
    let locked = |nix: &Nix| {
        let metadata = nix.flake_metadata(&flake.reference).unwrap();
        let dep = &metadata.inputs["dep"];
        assert_eq!(dep.kind(), Some("path"));
        dep.nar_hash().unwrap().to_owned()
    };
    git(&flake.path(), &["add", "flake.lock"]);
    let before = locked(&nix);
    write_dep(&flake.dir.path().join("dep"), "2");
    assert_eq!(locked(&nix), before);
    nix.flake_update_input(&flake.path(), "dep").unwrap();
    assert_ne!(locked(&nix), before);

    let source = nix.flake_archive_to(&flake.reference, &flake.store(), "", &mut |_| {}).unwrap();
    assert_eq!(source, nix.flake_metadata(&flake.reference).unwrap().path);
    assert!(nix.is_valid_in(&flake.store(), &source, "").unwrap());
    let error = nix.flake_update_input(&flake.path(), "nothing");
    // Older versions only warn of an unknown input.
    assert!(error.is_ok() || error.unwrap_err().to_string().contains("nothing"));
}

#[test]
fn an_input_that_cannot_be_fetched_is_told_apart() {
    let Some(nix) = nix() else { return };
    let flake = Flake::new();
    let nix = nix.with_override("dep", "git+file:///no/such/repository");
    let error = nix.eval_json::<u32>(&flake.attr("value"), None).unwrap_err();
    assert!(matches!(error, NixError::Fetch { .. }), "{error:?}");
    assert_eq!(error.exit(), Exit::Failed);
}
