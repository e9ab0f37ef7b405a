//! Every change that `landfall secrets` writes, ended before each single change to the
//! disk: what is left is whole, and the same command again completes it.
//!
//! The real program really ends (abort, no unwinding), and in a git repository, where
//! files that were changed and not committed would stop it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::secrets::{Home, SHARED, program};
use crate::common::{have, skipped};

const FILES: [&str; 3] = ["a.yaml", "hosts/new/b.yaml", "shared.yaml"];
/// More changes to the disk than any command makes.
const ENDLESS: usize = 200;

const CONFIG: &str = "keys:\n  - &me OPERATOR\ncreation_rules:\n  - path_regex: ^shared\\.yaml$\n    age: OPERATOR\n  - path_regex: .*\n    key_groups:\n      - age:\n          - *me\n";

fn home() -> Option<Home> {
    Home::with(CONFIG, &FILES.map(|file| (file, SHARED)))
}

const ADD: [&str; 12] = [
    "secrets",
    "add-host",
    "new",
    "--yes",
    "--key",
    "../host.pub",
    "--file",
    "a.yaml",
    "--file",
    "hosts/new/b.yaml",
    "--file",
    "shared.yaml",
];

/// Ends the command before its changes to the disk one after the other, in a fresh home
/// each; returns how many there were.
fn ended_everywhere(
    prepare: impl FnOnce(&Home),
    args: &[&str],
    complete: impl Fn(&Home),
) -> Option<usize> {
    let mut said = BTreeMap::<String, usize>::new();
    let prepared = home()?;
    prepare(&prepared);
    prepared.commit();
    for moment in 0..ENDLESS {
        let home = prepared.copy();
        let ended =
            home.ran(home.command(args).env("LANDFALL_ABORT_AT", format!("write:{moment}")));
        whole(&home);
        if ended.code == Some(0) {
            println!("{}: ended before each of {moment} changes: {said:?}", args[1]);
            return Some(moment);
        }
        assert_eq!(ended.code, None, "{}", ended.err);
        let last = ended.err.lines().last().unwrap_or_default();
        let before = last.strip_prefix("aborting before: ").unwrap_or(last);
        *said.entry(before.to_owned()).or_default() += 1;
        let again = home.run(args);
        assert_eq!(again.code, Some(0), "before {before}: {}{}", again.out, again.err);
        whole(&home);
        complete(&home);
        assert!(home.left_overs().is_empty(), "before {before}: {:?}", home.left_overs());
        let third = home.run(args);
        let ready = third.out.contains("Nothing to do") || args[1] == "rotate";
        assert!(ready || third.code == Some(2), "before {before}: {}{}", third.out, third.err);
    }
    panic!("{args:?} makes endless changes");
}

/// The rules can be read, and every file opens for the operator.
fn whole(home: &Home) {
    let config = home.read(".sops.yaml");
    landfall::sops::rules::Rules::parse(&config).unwrap();
    for file in FILES {
        let renamed = file.replace("new", "young");
        let file = if home.path("secrets").join(file).exists() { file } else { &renamed };
        assert!(home.opens(file, &home.operator), "{file}");
    }
}

fn open_for_host(home: &Home) {
    for file in FILES {
        assert!(home.opens(file, &home.host.identity().unwrap()), "{file}");
    }
    home.opened_by_host(FILES[1]).unwrap();
}

fn shut_for_host(home: &Home) {
    for file in FILES {
        assert!(!home.opens(file, &home.host.identity().unwrap()), "{file}");
    }
    home.opened_by_host(FILES[1]).unwrap_err();
    assert!(!home.read(".sops.yaml").contains(&home.recipient()));
}

fn add(home: &Home) {
    home.ok(&ADD);
}

#[test]
fn adding_a_host_can_end_anywhere() {
    let Some(changes) = ended_everywhere(|_| {}, &ADD, open_for_host) else { return };
    // Config and three files: made, mode set, written, synced; the note made, written,
    // synced; all four put into place, three folders synced (the config's by itself); the
    // note removed.
    assert_eq!(changes, 4 * 4 + 3 + 4 + 3 + 1);
}

#[test]
fn removing_a_host_can_end_anywhere() {
    ended_everywhere(add, &["secrets", "remove-host", "new", "--yes"], shut_for_host);
}

#[test]
fn renaming_a_host_can_end_anywhere() {
    let rename = ["secrets", "rename-host", "new", "young", "--yes"];
    ended_everywhere(add, &rename, |home| {
        let config = home.read(".sops.yaml");
        assert!(config.contains("young") && !config.contains("new"), "{config}");
        home.opened_by_host("hosts/young/b.yaml").unwrap();
        assert!(!home.path("secrets/hosts/new/b.yaml").exists());
    });
}

#[test]
fn a_user_key_can_end_anywhere() {
    let key = ["secrets", "user-key", "alice@new", "--yes", "--file", "a.yaml", "--path", "age"];
    ended_everywhere(
        |_| {},
        &key,
        |home| {
            let text = home.decrypt("a.yaml", &home.operator).unwrap();
            let key = text.lines().find_map(|line| line.strip_prefix("age: ")).unwrap();
            let alice = landfall::secret::age::Identity::parse(key).unwrap();
            assert!(home.opens("a.yaml", &alice));
        },
    );
}

#[test]
fn new_data_keys_can_end_anywhere() {
    ended_everywhere(|_| {}, &["secrets", "rotate", "--yes"], |_| {});
}

/// The announced changes are all there are: strace sees no other.
#[test]
fn no_change_to_the_disk_is_left_out() {
    if !have("strace") {
        return;
    }
    let Some(home) = home() else { return };
    let trace = home.path("trace");
    let calls = "openat,open,creat,write,pwrite64,writev,fsync,fdatasync,fchmod,chmod,fchown,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,truncate,ftruncate,link,linkat,symlink,symlinkat";
    let landfall = home.command(&ADD);
    let mut traced = Command::new(program("strace"));
    traced.args(["-f", "-y", "-q", "-e", &format!("trace={calls}"), "-o"]).arg(&trace);
    traced.arg(landfall.get_program()).args(landfall.get_args());
    traced.current_dir(home.path("secrets")).env("HOME", home.dir.path());
    let ran = home.ran(&mut traced);
    if ran.err.contains("ptrace") {
        skipped(&format!("strace may not trace here: {}", ran.err.trim()));
        return;
    }
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let secrets: PathBuf = home.path("secrets").canonicalize().unwrap();
    let trace = std::fs::read_to_string(trace).unwrap();
    let changes: Vec<&str> =
        trace.lines().filter(|line| changes_the_repo(line, &secrets)).collect();
    assert_eq!(changes.len(), 4 * 4 + 3 + 4 + 3 + 1, "{}", changes.join("\n"));
}

/// Whether a line of strace is a change in the repository that succeeded. git's own
/// index, which `git status` refreshes, is git's business.
fn changes_the_repo(line: &str, repo: &Path) -> bool {
    let opens = ["open", "creat"].iter().any(|call| line.contains(&format!(" {call}")));
    line.contains(&*repo.to_string_lossy())
        && !line.contains("<pipe:")
        && !line.contains("/.git/index")
        && !line.contains(" = -1 ")
        && (!opens || line.contains("O_CREAT") || line.contains("O_TRUNC"))
}
