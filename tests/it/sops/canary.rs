//! Private keys and plaintext of known value, and a search for them while every
//! command of `landfall keys` and `landfall secrets` runs: in what it prints, in the
//! arguments and the environment of every program, and in every file that is written.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::have;
use crate::common::secrets::{CONFIG, Home, SHARED, program};

/// A home whose own keys lie in files of mode 0600, in a folder that is not searched.
fn home() -> Option<Home> {
    let home = Home::with(CONFIG, &[("shared.yaml", SHARED), ("own.yaml", SHARED)])?;
    let keys = home.path("given");
    std::fs::create_dir(&keys).unwrap();
    std::fs::write(keys.join("host"), home.host.private_openssh().unwrap().expose()).unwrap();
    std::fs::write(keys.join("operator"), home.operator.text().expose()).unwrap();
    std::fs::remove_dir_all(home.path(".config")).unwrap();
    std::fs::create_dir(home.path("tmp")).unwrap();
    Some(home)
}

/// What must be seen nowhere.
fn canaries(home: &Home) -> Vec<String> {
    let private = home.host.private_openssh().unwrap();
    let lines = private.expose_str().unwrap().lines();
    // The last lines hold the private half; the first ones are in the public key too.
    let secret: Vec<&str> = lines.filter(|line| !line.starts_with("-----")).collect();
    let mut all = vec!["AGE-SECRET-KEY-1".to_owned(), "canary-plaintext".to_owned()];
    all.extend(secret[secret.len() - 2..].iter().map(|line| (*line).to_owned()));
    all
}

/// Runs a command with all its programs traced, and looks at everything it did.
fn watched(home: &Home, args: &[&str], environment: &[(&str, &str)]) {
    let landfall = home.command(args);
    let traced = have("strace");
    let trace = home.path("trace");
    let mut command = if traced {
        let mut strace = Command::new(program("strace"));
        strace.args([
            "-f",
            "-y",
            "-v",
            "-q",
            "-s",
            "100000",
            "-e",
            "trace=execve,write,pwrite64,writev,openat",
        ]);
        strace.arg("-o").arg(&trace).arg(landfall.get_program()).args(landfall.get_args());
        strace.current_dir(home.path("secrets")).env_clear();
        for (name, value) in landfall.get_envs() {
            strace.env(name, value.unwrap());
        }
        strace
    } else {
        landfall
    };
    command.env("TMPDIR", home.path("tmp")).stdin(std::process::Stdio::null());
    command.envs(environment.iter().copied());
    let ran = home.ran(&mut command);
    assert_eq!(ran.code, Some(0), "{args:?}: {}{}", ran.out, ran.err);
    let canaries = canaries(home);
    let shows = |text: &str| canaries.iter().any(|canary| text.contains(canary.as_str()));
    assert!(!shows(&ran.out) && !shows(&ran.err), "{args:?} showed a secret");
    assert!(!shows(&home.witnessed()), "{args:?}: a program saw a secret");
    if traced {
        look_at_trace(&std::fs::read_to_string(trace).unwrap(), home, args, shows);
        std::fs::remove_file(home.path("trace")).unwrap();
    }
    let mut files = Vec::new();
    files_below(home.dir.path(), &mut files);
    for file in files.iter().filter(|file| !file.starts_with(home.path("given"))) {
        let text = std::fs::read(file).unwrap_or_default();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert!(
            mode == 0o600 || !shows(&String::from_utf8_lossy(&text)),
            "{args:?}: {}",
            file.display()
        );
    }
    assert_eq!(std::fs::read_dir(home.path("tmp")).unwrap().count(), 0, "{args:?} left files");
}

/// No program is started with a secret, and only files made with mode 0600 and memory
/// without a name get one.
fn look_at_trace(trace: &str, home: &Home, args: &[&str], shows: impl Fn(&str) -> bool) {
    let private = |path: &str| {
        if path.starts_with("/memfd:") {
            return true;
        }
        let name = path.rsplit('/').next().unwrap_or_default();
        if name.starts_with('#') {
            // It has no name yet: all files of that kind are made alike.
            let mut made = trace.lines().filter(|line| line.contains("O_TMPFILE"));
            return made.all(|line| line.contains(", 0600)"));
        }
        let open = format!("/{name}\"");
        trace
            .lines()
            .any(|line| line.contains(" openat(") && line.contains(&open) && line.contains("0600"))
    };
    let mut started = 0;
    for line in trace.lines().filter(|line| !line.contains("= -1 ")) {
        let Some((_, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if call.starts_with("execve(") {
            started += 1;
            // The operator's own shell gave the variable to landfall, and to it alone.
            assert!(started == 1 || !shows(call), "{args:?}: {}", &call[..call.len().min(300)]);
        } else if !call.starts_with("openat(") && shows(call) {
            let path = call.split_once('<').and_then(|(_, rest)| rest.split_once('>')).unwrap().0;
            // sops takes a value from a pipe; the command that prints a key writes into one.
            let fine = path.starts_with("pipe:") || path.starts_with("UNIX") || private(path);
            assert!(fine, "{args:?} wrote a secret to {path}");
        }
    }
    assert!(started > 0, "nothing was traced in {}", home.dir.path().display());
}

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            files_below(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

#[test]
fn no_command_lets_a_private_key_or_a_value_be_seen() {
    let Some(home) = home() else { return };
    let key_file = home.path("given/operator").display().to_string();
    let key = home.operator.text().expose_str().unwrap().to_owned();
    let cat = format!("cat {key_file}");
    let by_file = [("SOPS_AGE_KEY_FILE", key_file.as_str())];
    let by_value = [("SOPS_AGE_KEY", key.as_str())];
    let by_command = [("SOPS_AGE_KEY_CMD", cat.as_str())];
    watched(&home, &["keys", "to-age", "../host.pub"], &[]);
    watched(&home, &["keys", "to-age", "../given/host", "--private-key", "../given/id"], &[]);
    let add = ["secrets", "add-host", "new", "--yes", "--key", "../given/host"];
    watched(&home, &[&add[..], &["--file", "shared.yaml", "--dry-run"]].concat(), &by_value);
    watched(&home, &[&add[..], &["--file", "shared.yaml"]].concat(), &by_value);
    home.commit();
    watched(&home, &[&add[..], &["--file", "own.yaml"]].concat(), &by_command);
    home.commit();
    for (identity, user) in
        [(&by_file, "alice@new"), (&by_value, "bob@new"), (&by_command, "eve@new")]
    {
        let key = ["secrets", "user-key", user, "--yes", "--file", "own.yaml", "--path"];
        let path = format!("keys/{user}");
        watched(&home, &[&key[..], &[&path]].concat(), identity);
        home.commit();
        watched(&home, &[&key[..], &[&path]].concat(), identity);
    }
    for identity in [&by_file, &by_value, &by_command] {
        watched(&home, &["secrets", "rotate", "--yes"], identity);
        home.commit();
    }
    watched(&home, &["secrets", "verify", "--all"], &by_value);
    watched(&home, &["secrets", "updatekeys", "--check"], &by_value);
    watched(&home, &["secrets", "rename-host", "new", "young", "--yes"], &by_value);
    home.commit();
    let remove = ["secrets", "remove-host", "young", "--yes", "--key", "../given/host"];
    watched(&home, &remove, &by_value);
    home.commit();
    watched(&home, &["secrets", "updatekeys", "--yes"], &by_value);
}

#[test]
fn an_identity_goes_to_a_file_of_mode_0600_and_nowhere_else() {
    let Some(home) = home() else { return };
    let run = |out: &str| home.run(&["keys", "to-age", "../given/host", "--private-key", out]);
    for out in ["-", "/dev/stdout", "/dev/stderr", "/proc/self/fd/1"] {
        let ran = run(out);
        assert_eq!(ran.code, Some(2), "{out}: {}", ran.err);
    }
    assert!(!home.path("secrets/-").exists());
    assert_eq!(run("../given/out").code, Some(0));
    let mode = home.path("given/out").metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    // Whatever the user's umask is, and never over another file.
    assert_eq!(run("../given/out").code, Some(2));
    std::os::unix::fs::symlink("/dev/null", home.path("given/link")).unwrap();
    assert_eq!(run("../given/link").code, Some(2));
}
