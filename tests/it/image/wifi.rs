//! `landfall iso build --customize --wifi`: networks that a copy of an image joins by itself.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::common::journey::{Ran, quoted, run};
use crate::common::{have, skipped};
use rexpect::session::spawn_command;
use tempfile::TempDir;

const ROOM: &str = "landfall keeps this room for what one copy of an image is given\n";
const PASSPHRASE: &str = " it's \"$HOME\"; a\\b#c=d ";

/// A home, and an image that is nothing but room.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        fs::write(bench.path("image.iso"), ROOM.repeat(1024)).unwrap();
        fs::write(bench.path("pass"), format!("{PASSPHRASE}\n")).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.dir.path()).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    fn customize(&self, more: &[impl AsRef<OsStr>]) -> Ran {
        let mut landfall = self.command(assert_cmd::cargo::cargo_bin!("landfall"));
        landfall.args(["iso", "build", "--customize", "--image", "image.iso", "-o", "stick.iso"]);
        run(landfall.args(more))
    }

    fn refuses(&self, code: i32, words: &[&str], more: &[impl AsRef<OsStr>]) {
        let ran = self.customize(more);
        ran.ends(code, words);
        assert!(!ran.text.contains(PASSPHRASE.trim()), "{}", ran.text);
        assert!(!self.path("stick.iso").exists());
    }

    /// The keyfiles in the copy, by the lengths that it tells.
    fn keyfiles(&self) -> Vec<(String, String)> {
        let copy = String::from_utf8(fs::read(self.path("stick.iso")).unwrap()).unwrap();
        let mut rest = copy.strip_prefix("landfall-custom-1\n").unwrap();
        let mut found = Vec::new();
        while let Some(part) = rest.strip_prefix("part ") {
            let (head, after) = part.split_once('\n').unwrap();
            let (name, length) = head.split_once(' ').unwrap();
            let (content, after) = after.split_at(length.parse().unwrap());
            if name.ends_with(".nmconnection") {
                found.push((name.to_owned(), content.to_owned()));
            }
            rest = after.strip_prefix('\n').unwrap();
        }
        assert!(rest.starts_with(ROOM));
        found
    }
}

#[test]
fn networks_are_in_the_copy_and_nowhere_else() {
    let bench = Bench::new();
    fs::write(bench.path("other"), "0123456789").unwrap();
    let ran = bench.customize(&[
        "--wifi",
        "home",
        "--wifi-hidden",
        "a=b",
        "--wifi-passphrase-file",
        "pass",
        "--wifi-passphrase-file",
        "a=b=other",
    ]);
    ran.ends(0, &["joins the Wi-Fi network “home”", "joins the Wi-Fi network “a=b”"]);
    assert!(!ran.text.contains(PASSPHRASE.trim()));
    let copy = bench.path("stick.iso");
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);

    let [home, hidden] = <[_; 2]>::try_from(bench.keyfiles()).unwrap();
    assert_eq!(
        (home.0.as_str(), hidden.0.as_str()),
        ("wifi-1.nmconnection", "wifi-2.nmconnection")
    );
    assert!(home.1.contains("\npsk=\\sit's \"$HOME\"; a\\\\b#c=d\\s\n"), "{}", home.1);
    assert!(hidden.1.contains("\nssid=97;61;98;\nhidden=true\n"), "{}", hidden.1);
    assert!(hidden.1.contains("\npsk=0123456789\n"), "{}", hidden.1);

    for file in crate::common::journey::files_below(bench.dir.path()) {
        let given = [&copy, &bench.path("pass"), &bench.path("other")].contains(&&file);
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        let found = text.contains(PASSPHRASE.trim()) || text.contains("0123456789");
        assert!(given || !found, "a passphrase is in {}", file.display());
    }
}

#[test]
fn what_no_network_takes_is_refused_before_anything_is_written() {
    let bench = Bench::new();
    fs::write(bench.path("short"), "1234567\n").unwrap();
    let file = |name: &str, file: &str| {
        ["--wifi", name, "--wifi-passphrase-file", file].map(str::to_owned)
    };
    bench.refuses(2, &["it has 7 bytes", "--wifi-connection"], &file("home", "short"));
    bench.refuses(2, &["0 bytes, not 1 to 32"], &file("", "pass"));
    bench.refuses(2, &["33 bytes, not 1 to 32"], &file(&"x".repeat(33), "pass"));
    bench.refuses(2, &["hom=pass cannot be read", "is one of: home"], &file("home", "hom=pass"));
    bench.refuses(
        2,
        &["does not belong to any Wi-Fi network"],
        &["--wifi-passphrase-file", "pass"],
    );
    bench.refuses(2, &["given twice"], &["--wifi", "a", "--wifi-hidden", "a"]);
    bench.refuses(3, &["network “home”", "--wifi-passphrase-file"], &["--wifi", "home"]);
    let plain = ["iso", "build", "-o", "stick.iso", "--wifi", "home"];
    let mut landfall = bench.command(assert_cmd::cargo::cargo_bin!("landfall"));
    run(landfall.args(plain)).ends(2, &["--customize"]);

    let network = "[connection]\ntype=wifi\ninterface-name=wlp3s0\n[wifi]\nssid=cafe\n";
    fs::write(bench.path("cafe"), network).unwrap();
    let words = ["interface-name in [connection] binds it", "without that"];
    bench.refuses(2, &words, &["--wifi-connection", "cafe"]);
    bench.refuses(2, &["cannot use the Wi-Fi connection pass"], &["--wifi-connection", "pass"]);
}

#[test]
fn a_connection_of_another_kind_is_taken_as_it_is() {
    let bench = Bench::new();
    let open = "[connection]\nid=café\ntype=wifi\n[wifi]\nssid=cafe\n";
    fs::write(bench.path("cafe"), open).unwrap();
    bench.customize(&["--wifi-connection", "cafe"]).ends(0, &["joins the Wi-Fi network “café”"]);
    assert_eq!(bench.keyfiles(), [("wifi-1.nmconnection".to_owned(), open.to_owned())]);
}

#[test]
fn a_person_types_the_passphrase_twice_and_it_is_not_shown() {
    let bench = Bench::new();
    let landfall = assert_cmd::cargo::cargo_bin!("landfall").display().to_string();
    let script = format!(
        "{} iso build --customize --image image.iso -o stick.iso --wifi home; echo \"code=$?\"",
        quoted(&landfall)
    );
    let mut shell = bench.command("sh");
    shell.env("TERM", "xterm-256color").args(["-c", &script]);
    let mut terminal = spawn_command(shell, Some(60_000)).unwrap();
    for typed in ["mistyped", "typed otherwise", "correct horse", "correct horse"] {
        terminal.exp_string("Passphrase of the Wi-Fi network").unwrap();
        terminal.exp_string(": ").unwrap();
        terminal.send_line(typed).unwrap();
    }
    let shown = terminal.exp_string("code=0").unwrap();
    assert!(!shown.contains("correct horse"), "{shown}");
    assert!(bench.keyfiles()[0].1.contains("\npsk=correct horse\n"));
}

/// NetworkManager's own reader gives back what was put in, also where it escapes otherwise.
#[test]
fn networkmanager_reads_each_byte_as_it_was_given() {
    if !have("nmcli") {
        return;
    }
    let bench = Bench::new();
    let names: [&[u8]; 5] =
        [b"home", b"1", b" \\; ", "café \u{1f600}".as_bytes(), b"\xff\x01\n[wifi]"];
    let passphrases = ["        ", PASSPHRASE, "\\s\\n\\\\\\t", "a;b;c;d;e;", &"0aF9".repeat(16)];
    let mut args = Vec::new();
    for (index, (name, passphrase)) in names.iter().zip(passphrases).enumerate() {
        let file = bench.path(&format!("pass-{index}"));
        fs::write(&file, passphrase).unwrap();
        let flag = if index % 2 == 0 { "--wifi" } else { "--wifi-hidden" };
        let named = [name, &b"="[..], file.as_os_str().as_bytes()].concat();
        args.push(OsStr::new(flag).to_owned());
        args.push(OsStr::from_bytes(name).to_owned());
        args.push("--wifi-passphrase-file".into());
        args.push(OsStr::from_bytes(&named).to_owned());
    }
    bench.customize(&args).succeeds();
    // Those that do not show their names come last.
    for (index, (_, keyfile)) in [0, 2, 4, 1, 3].into_iter().zip(bench.keyfiles()) {
        let Some(read) = read_by_networkmanager(&bench, &keyfile) else { return };
        assert_eq!(bytes_of(value_of(&read, "ssid")), names[index], "{read}");
        assert_eq!(unescaped(value_of(&read, "psk")), passphrases[index], "{read}");
        assert_eq!(read.contains("hidden=true"), index % 2 == 1, "{read}");
        assert_eq!(value_of(&read, "autoconnect-retries"), "0", "{read}");
    }
}

/// The keyfile as nmcli writes it again, after reading it.
fn read_by_networkmanager(bench: &Bench, keyfile: &str) -> Option<String> {
    let modify = ["--offline", "connection", "modify", "connection.autoconnect-priority", "7"];
    let mut nmcli = bench.command("nmcli");
    let mut child = nmcli
        .args(modify)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(keyfile.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("--offline") {
        skipped("nmcli is older than 1.40");
        return None;
    }
    assert!(output.status.success(), "{errors}\n{keyfile}");
    let read = String::from_utf8(output.stdout).unwrap();
    assert!(read.contains("autoconnect-priority=7"), "{read}");
    Some(read)
}

fn value_of<'a>(keyfile: &'a str, key: &str) -> &'a str {
    let line = |line: &'a str| line.strip_prefix(key)?.strip_prefix('=');
    keyfile.lines().find_map(line).unwrap()
}

/// A name as NetworkManager writes it: numbers, or a text with escaped semicolons.
fn bytes_of(value: &str) -> Vec<u8> {
    let numbers: Option<Vec<u8>> =
        value.strip_suffix(';').and_then(|list| list.split(';').map(|n| n.parse().ok()).collect());
    numbers.unwrap_or_else(|| unescaped(value).replace("\\;", ";").into_bytes())
}

fn unescaped(value: &str) -> String {
    let mut text = String::new();
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next().unwrap() {
                's' => text.push(' '),
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                '\\' => text.push('\\'),
                other => text.extend(['\\', other]),
            },
            other => text.push(other),
        }
    }
    text
}
