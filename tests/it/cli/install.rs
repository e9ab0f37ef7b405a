//! `landfall install` against a target that is made up to the reboot: each flag of
//! nixos-anywhere changes something that is seen on the target, in the flake or in the log.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use crate::common::installer::SERIAL;
use crate::common::journey::run;
use crate::common::plain_flake::{PASSPHRASE, Plain};
use crate::common::{FAILED, PERSON, USAGE};

const KEY: &str = "/persist/etc/ssh/ssh_host_ed25519_key";

#[test]
fn a_system_of_any_flake_is_installed_up_to_the_reboot() {
    let Some(plain) = Plain::new() else { return };
    plain.until_reboot(&[]).succeeds();
    assert_eq!(plain.told("ran"), "destroyFormatMount\n");
    assert_eq!(plain.told("to-cryptsetup"), PASSPHRASE);
    assert!(plain.told("nixos-install").contains("--no-root-passwd --no-channel-copy --system"));
    let key = plain.new_root(KEY);
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(plain.told("before-boot-loader").contains(KEY), "the key comes before the boot loader");
    assert!(!plain.target.file("media/passphrase").exists());

    // What is done is not done again.
    plain.until_reboot(&[]).succeeds();
    assert_eq!(plain.told("ran"), "destroyFormatMount\n");
    let status = run(plain
        .command(assert_cmd::cargo::cargo_bin!("landfall"))
        .args(["status", "guppy", "--json"]));
    assert!(status.succeeds().stdout.contains("\"strategy\": \"install\""), "{}", status.stdout);
}

#[test]
fn the_system_is_named_as_nixos_anywhere_names_it() {
    let Some(plain) = Plain::new() else { return };
    let target = plain.target_word();
    let flake = format!("path:{}#nixosConfigurations.guppy.config", plain.flake().display());
    for words in [
        vec!["--flake", ".#guppy", "--target-host", &target],
        vec!["-f", &flake, &target],
        vec![".#nixosConfigurations.guppy", &target],
    ] {
        plain.install(&[&words[..], &["--phases", "kexec"]].concat()).succeeds();
    }
    plain.install(&[".#missing", &target]).ends(USAGE, &["missing"]);
    plain.install(&[".", &target]).ends(USAGE, &["FLAKE#HOST"]);
    plain.install(&[".#guppy"]).ends(USAGE, &["the target is not named"]);
}

#[test]
fn phases_run_alone_when_what_they_rest_on_is_there() {
    let Some(plain) = Plain::new() else { return };
    let target = plain.target_word();
    let passphrase = plain.home("passphrase").display().to_string();
    let install = [".#guppy", &target, "--phases", "install"];
    plain.install(&install).ends(USAGE, &["nothing is mounted at /mnt", "--phases disko,install"]);
    assert_eq!(plain.told("nixos-install"), "");
    let reboot = [".#guppy", &target, "--phases", "reboot"];
    plain.install(&reboot).ends(USAGE, &["nothing was installed by this run"]);

    let disko = [".#guppy", &target, "--stop-after-disko", "--luks-passphrase-file", &passphrase];
    plain.install(&disko).ends(PERSON, &["--erase LANDFALL-TEST-1"]);
    assert_eq!(plain.told("ran"), "");
    plain.install(&[&disko[..], &["--erase", SERIAL]].concat()).succeeds();
    assert_eq!(
        (plain.told("ran").as_str(), plain.told("nixos-install").as_str()),
        ("destroyFormatMount\n", "")
    );
    plain.install(&install).succeeds();
    assert!(plain.told("nixos-install").contains("--system"));

    plain.anew();
    let whole = [
        ".#guppy",
        &target,
        "--no-reboot",
        "--luks-passphrase-file",
        &passphrase,
        "--erase",
        SERIAL,
    ];
    plain.install(&whole).succeeds();
    assert!(plain.told("nixos-install").contains("--system"));
    plain.install(&[".#guppy", &target, "--phases", "disk"]).ends(USAGE, &["kexec"]);
}

#[test]
fn the_modes_of_disko_take_its_new_and_old_scripts() {
    let Some(plain) = Plain::new() else { return };
    let passphrase = plain.home("passphrase").display().to_string();
    for (host, words, ran) in [
        ("guppy", vec!["--disko-mode", "format", "--erase", SERIAL], "format\nmount\n"),
        ("guppy", vec!["--disko-mode", "mount"], "mount\n"),
        ("guppy", vec!["--no-disko-deps", "--erase", SERIAL], "destroyFormatMountNoDeps\n"),
        ("old", vec!["--erase", SERIAL], "diskoScript\n"),
        ("old", vec!["--disko-mode", "format", "--erase", SERIAL], "formatScript\nmountScript\n"),
        ("old", vec!["--disko-mode", "mount", "--no-disko-deps"], "mountScriptNoDeps\n"),
    ] {
        let system = format!(".#{host}");
        let target = plain.target_word();
        let fixed =
            [&system, &target, "--phases", "disko", "--luks-passphrase-file", passphrase.as_str()];
        plain.install(&[&fixed[..], &words].concat()).succeeds();
        assert_eq!(plain.told("ran"), ran, "{host} {words:?}");
        plain.anew();
    }
    // What may write is confirmed in every mode that writes.
    let target = plain.target_word();
    let fixed =
        [".#guppy", &target, "--disko-mode", "format", "--luks-passphrase-file", &passphrase];
    plain.install(&fixed).ends(PERSON, &["may be erased", "--erase"]);
    assert_eq!(plain.told("ran"), "");
}

#[test]
fn extra_files_are_roots_unless_they_are_given_away() {
    let Some(plain) = Plain::new() else { return };
    let extra = plain.home("extra");
    fs::create_dir_all(extra.join("home/anna/with space")).unwrap();
    fs::create_dir_all(extra.join("persist")).unwrap();
    fs::set_permissions(extra.join("persist"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(extra.join("home/anna/with space/a"), "hello").unwrap();
    fs::write(extra.join("persist/secret"), "x").unwrap();
    fs::set_permissions(extra.join("persist/secret"), fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", extra.join("home/anna/link")).unwrap();
    let status = Command::new("chown").args(["-R", "4321:4321"]).arg(&extra).status().unwrap();
    assert!(status.success());
    let words = ["--extra-files", extra.to_str().unwrap(), "--chown", "/home/anna", "1000:100"];
    plain.until_reboot(&words).succeeds();
    let at = |path: &str| fs::symlink_metadata(plain.new_root(path)).unwrap();
    let secret = at("persist/secret");
    assert_eq!((secret.uid(), secret.permissions().mode() & 0o777), (0, 0o640));
    for path in ["home/anna", "home/anna/with space/a", "home/anna/link"] {
        assert_eq!((at(path).uid(), at(path).gid()), (1000, 100), "{path}");
    }
    assert_eq!(fs::read_to_string(plain.new_root("home/anna/with space/a")).unwrap(), "hello");
    assert!(plain.told("before-boot-loader").contains("/mnt/persist/secret"));
    assert_eq!(fs::metadata("/etc/passwd").unwrap().uid(), 0, "a link was followed");
    assert_eq!(fs::metadata(plain.target.file("mnt")).unwrap().permissions().mode() & 0o777, 0o755);

    // Other files are another installation.
    fs::write(extra.join("persist/secret"), "y").unwrap();
    plain.until_reboot(&words).succeeds();
    assert_eq!(fs::read_to_string(plain.new_root("persist/secret")).unwrap(), "y");

    plain.until_reboot(&["--chown", "/home/anna", "anna:users"]).ends(USAGE, &["in numbers"]);
    plain.until_reboot(&["--chown", "/../etc", "0:0"]).ends(USAGE, &["leads out"]);
    plain
        .until_reboot(&["--chown", "/nothing", "0:0"])
        .ends(FAILED, &["/nothing is not on the new"]);
    plain.until_reboot(&["--extra-files", "/no/such"]).ends(USAGE, &["--extra-files", "/no/such"]);
}

#[test]
fn a_host_key_among_the_extra_files_is_the_hosts() {
    let Some(plain) = Plain::new() else { return };
    let extra = plain.home("extra");
    let file = extra.join(KEY.trim_start_matches('/'));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let made = crate::common::sshd::keygen(plain.root.path(), "mine", "ed25519");
    fs::copy(&made.private, &file).unwrap();
    let ran = plain.until_reboot(&["--extra-files", extra.to_str().unwrap()]);
    ran.ends(0, &[&made.public.fingerprint()]);
    let public = fs::read_to_string(plain.new_root(&format!("{KEY}.pub"))).unwrap();
    assert!(public.contains(&made.public.to_string()), "{public}");
}

#[test]
fn kept_host_keys_are_those_of_the_running_system() {
    let Some(plain) = Plain::new() else { return };
    // The sshd of the target shows this key; its sessions see it where installers have it.
    let etc = plain.target.file("etc-ssh");
    fs::create_dir_all(&etc).unwrap();
    let host = plain.target.sshd.host_key.clone();
    let private = plain.target.host_private();
    fs::copy(&private, etc.join("ssh_host_ed25519_key")).unwrap();
    let ran = plain.until_reboot(&["--copy-host-keys"]);
    ran.ends(0, &[&host.fingerprint()]);
    assert_eq!(fs::read(plain.new_root(KEY)).unwrap(), fs::read(&private).unwrap());
    let keys = plain.home(".local/state/landfall/guppy/current/keys");
    assert!(!keys.join("ssh_host_ed25519_key").exists(), "a private key lies on the source");

    plain.anew();
    plain
        .until_reboot(&["--copy-host-keys=/elsewhere"])
        .ends(USAGE, &["does not read its host keys from /elsewhere"]);
    plain.until_reboot(&["--copy-host-keys=/persist/etc/ssh"]).succeeds();
    assert_eq!(fs::read(plain.new_root(KEY)).unwrap(), fs::read(&private).unwrap());
}

#[test]
fn keys_of_disks_arrive_byte_for_byte_and_go_again() {
    let Some(plain) = Plain::new() else { return };
    let key = plain.home("key");
    let bytes: Vec<u8> = (0..=255).chain([b'\n', b'\n']).collect();
    fs::write(&key, &bytes).unwrap();
    let remote = "/media/key-1";
    plain.until_reboot(&["--disk-encryption-keys", remote, key.to_str().unwrap()]).succeeds();
    assert_eq!(fs::read(plain.target.file("seen-key-1")).unwrap(), bytes);
    assert!(plain.told("modes").contains("600 key-1"), "{}", plain.told("modes"));
    assert!(!plain.target.file("media/key-1").exists());

    // The place of the layout's passphrase: then it is the passphrase.
    plain.anew();
    let target = plain.target_word();
    let words =
        [".#guppy", &target, "--phases", "disko", "--erase", SERIAL, "--disk-encryption-keys"];
    let place = "/media/passphrase";
    let file = plain.home("passphrase").display().to_string();
    plain.install(&[&words[..], &[place, &file]].concat()).succeeds();
    assert_eq!(plain.told("to-cryptsetup"), PASSPHRASE);
    fs::write(plain.home("mangled"), "-n").unwrap();
    let file = plain.home("mangled").display().to_string();
    plain.anew();
    plain.install(&[&words[..], &[place, &file]].concat()).ends(USAGE, &["disko would change"]);
    plain.install(&[&words[..], &["/mnt/x", &file]].concat()).ends(USAGE, &["outside /mnt"]);
    plain.install(&[&words[..], &[place, "/no/such"]].concat()).ends(USAGE, &["/no/such"]);
}

#[test]
fn passphrases_reach_cryptsetup_as_they_are() {
    let Some(plain) = Plain::new() else { return };
    let printable: String = (' '..='~').collect();
    let mut half = String::from("  ");
    half.push_str(&"ü€𝄞 ".repeat(45));
    let target = plain.target_word();
    let file = plain.home("passphrase").display().to_string();
    let words = [
        ".#guppy",
        &target,
        "--phases",
        "disko",
        "--erase",
        SERIAL,
        "--luks-passphrase-file",
        &file,
    ];
    let hostile = "-n\\n\\t$(reboot)`id`'\"".to_owned();
    for passphrase in [format!("  {printable}  "), half, "x".repeat(512), hostile] {
        fs::write(plain.home("passphrase"), &passphrase).unwrap();
        plain.install(&words).succeeds();
        assert_eq!(plain.told("to-cryptsetup"), passphrase);
        plain.anew();
    }
    for mangled in ["", "-e", "-nE", "a\nb", "\n"] {
        fs::write(plain.home("passphrase"), mangled).unwrap();
        plain.until_reboot(&[]).ends(USAGE, &["passphrase of crypted"]);
        assert_eq!(plain.told("ran"), "");
    }
}

#[test]
fn hardware_is_reported_into_the_flake_and_read_from_it() {
    let Some(plain) = Plain::new() else { return };
    let git = |args: &[&str]| run(plain.command("git").args(args));
    git(&["init", "-q", "-b", "main"]).succeeds();
    git(&["add", "flake.nix"]).succeeds();
    let words = ["--generate-hardware-config", "nixos-generate-config", "./hardware"];
    plain.until_reboot(&words).succeeds();
    let written = fs::read_to_string(plain.flake().join("hardware")).unwrap();
    assert!(written.contains("qemu-guest.nix"), "{written}");
    let system = plain.told("nixos-install");
    let system = system.split_whitespace().last().unwrap();
    assert_eq!(fs::read_to_string(format!("{system}/hardware")).unwrap(), written);
    assert!(git(&["status", "--porcelain"]).stdout.contains(" A hardware"), "git was not told");

    plain.anew();
    let words = ["--generate-hardware-config", "nixos-facter", "./facter.json"];
    // The configuration that does not read it is told so.
    plain
        .until_reboot(&words)
        .ends(USAGE, &["does not read facter.json", "hardware.facter.reportPath"]);
    let target = plain.target_word();
    let passphrase = plain.home("passphrase").display().to_string();
    let fixed = [
        ".#facter",
        &target,
        "--no-reboot",
        "--erase",
        SERIAL,
        "--luks-passphrase-file",
        &passphrase,
    ];
    let facter = || plain.install(&[&fixed[..], &words].concat());
    facter().ends(USAGE, &["the installer has no nixos-facter"]);
    assert!(!plain.flake().join("facter.json").exists());
    plain.target.script("bin/nixos-facter", "echo 'no access' >&2; exit 1");
    facter().ends(FAILED, &["nixos-facter on the target gave no report", "no access"]);
    plain.target.script("bin/nixos-facter", "echo '{\"version\": 1}'");
    facter().ends(FAILED, &["is not a report", "system"]);
    let another = r#"echo '{"version": 1, "system": "aarch64-linux", "hardware": {}}'"#;
    plain.target.script("bin/nixos-facter", another);
    facter().ends(USAGE, &["the target reports the hardware of aarch64-linux"]);
    let twice = r#"echo '{"version": 1, "system": "x86_64-linux", "hardware": {}, "system": ""}'"#;
    plain.target.script("bin/nixos-facter", twice);
    facter().ends(FAILED, &["is not a report", "twice"]);
    assert_eq!(plain.told("ran"), "");
    let report = r#"echo 'INFO reading {pci}'; echo "log" >&2
echo '{"version": 1, "system": "x86_64-linux", "hardware": {"at": "'$(date +%N)'"}}'"#;
    plain.target.script("bin/nixos-facter", report);
    facter().succeeds();
    let text = fs::read_to_string(plain.flake().join("facter.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["system"], "x86_64-linux");

    let elsewhere = ["--generate-hardware-config", "nixos-facter", "/tmp/landfall-elsewhere.json"];
    plain.until_reboot(&elsewhere).ends(USAGE, &["is not part of the flake"]);
    let unknown = ["--generate-hardware-config", "lshw", "./x"];
    plain.until_reboot(&unknown).ends(USAGE, &["lshw", "nixos-facter"]);
}

#[test]
fn built_paths_are_installed_without_a_flake() {
    let Some(plain) = Plain::new() else { return };
    let build = |host: &str, name: &str| {
        let what = format!(
            "path:{}#nixosConfigurations.{host}.config.system.build.{name}",
            plain.flake().display()
        );
        let features = ["--extra-experimental-features", "nix-command flakes"];
        let mut nix = plain.command("nix");
        run(nix.args(features).args(["build", "--no-link", "--print-out-paths", &what]))
            .succeeds()
            .stdout
            .trim()
            .to_owned()
    };
    let target = plain.target_word();
    let system = build("guppy", "toplevel");
    let key = plain.home("passphrase").display().to_string();
    for (disko, ran) in [
        (build("old", "diskoScript"), "diskoScript\n"),
        (build("guppy", "destroyFormatMount"), "destroyFormatMount\n"),
    ] {
        let words = [
            "--store-paths",
            &disko,
            &system,
            &target,
            "--no-reboot",
            "--disk-encryption-keys",
            "/media/passphrase",
            &key,
        ];
        plain.install(&words).ends(PERSON, &["--erase LANDFALL-TEST-1"]);
        plain.install(&[&words[..], &["--erase", SERIAL]].concat()).succeeds();
        assert_eq!(plain.told("ran"), ran);
        assert_eq!(plain.told("to-cryptsetup"), PASSPHRASE);
        assert!(plain.told("nixos-install").contains(&system));
        assert!(plain.new_root(KEY).exists(), "the key goes where the built sshd_config says");
        plain.anew();
    }
    let words = ["-s", "/etc/passwd", &system, &target];
    plain.install(&words).ends(USAGE, &["/etc/passwd leads to no store path"]);
    let words = ["-s", &system, &system, &target, "--disko-mode", "mount"];
    plain.install(&words).ends(USAGE, &["--disko-mode"]);
}

#[test]
fn closures_travel_as_the_flags_say() {
    let Some(plain) = Plain::new() else { return };
    let empty = format!("file://{}", plain.home("cache").display());
    plain.until_reboot(&["--from", &empty]).ends(FAILED, &["disko's script could not be copied"]);

    assert!(plain.log("guppy").contains(&format!("--from {empty}")));
    assert_eq!(plain.told("ran"), "");
    let compresses = || plain.target.sshd.log().contains("Enabling compression");
    assert!(!compresses(), "the line to this very machine is a fast one");

    plain.anew();
    plain
        .until_reboot(&[
            "--ssh-store-setting",
            "compress",
            "true",
            "--option",
            "connect-timeout",
            "7",
        ])
        .succeeds();
    let log = plain.log("guppy");
    assert!(log.contains("compress=true"), "the store's URL has not the setting");
    assert!(compresses(), "the connection that nix shares does not compress");
    assert!(log.contains("--option connect-timeout 7"));
    assert!(log.contains("--substitute-on-destination"));
    let conf = plain.target.file("root/.config/nix/nix.conf");
    let told = fs::read_to_string(&conf).unwrap();
    assert_eq!(
        told,
        "extra-substituters = https://cache.example.org\nextra-trusted-public-keys = cache.example.org-1:abc=\n"
    );

    plain.anew();
    fs::remove_file(&conf).unwrap();
    plain.until_reboot(&["--no-use-machine-substituters"]).succeeds();
    assert!(!conf.exists());
    assert!(plain.log("guppy").contains("--substitute-on-destination"));

    plain.anew();
    plain.until_reboot(&["--no-substitute-on-destination"]).succeeds();
    assert!(!conf.exists() && !plain.log("guppy").contains("--substitute-on-destination"));

    let words = ["--ssh-store-setting", "ssh-key", "x"];
    plain.until_reboot(&words).ends(USAGE, &["ssh-key cannot be used"]);
}

#[test]
fn what_would_weaken_the_check_of_the_host_key_is_refused() {
    let Some(plain) = Plain::new() else { return };
    for option in ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"] {
        plain
            .until_reboot(&["--ssh-option", option])
            .ends(USAGE, &[option, "it changes how the host key is checked"]);
    }
    let target = plain.target_word();
    let mut command = plain.install_command(&[".#guppy", &target]);
    run(command.env("SSH_PRIVATE_KEY", "canary"))
        .ends(USAGE, &["SSH_PRIVATE_KEY is not read", "-i FILE"]);
    assert_eq!(plain.told("ran"), "");
    let _ = fs::remove_dir_all(plain.home(".local"));
    plain.until_reboot(&["--ssh-option", "ConnectTimeout=77"]).succeeds();
    assert!(plain.log("guppy").contains("ConnectTimeout=77"));
}

#[test]
fn files_that_the_boot_loader_reads_are_missed_before_the_disks() {
    let Some(plain) = Plain::new() else { return };
    let target = plain.target_word();
    let passphrase = plain.home("passphrase").display().to_string();
    let extra = plain.home("extra").display().to_string();
    for (host, words, file) in [
        ("sealed", ["/etc/unlock.key", "boot.initrd.secrets"], "etc/unlock.key"),
        ("signed", ["/var/lib/sbctl/keys/db/db.key", "lanzaboote"], "var/lib/sbctl/keys/db/db.key"),
    ] {
        let system = format!(".#{host}");
        let fixed = [
            &system,
            &target,
            "--no-reboot",
            "--erase",
            SERIAL,
            "--luks-passphrase-file",
            passphrase.as_str(),
        ];
        plain.install(&fixed).ends(USAGE, &words);
        assert_eq!(plain.told("ran"), "");
        let file = plain.home("extra").join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "key").unwrap();
        plain.install(&[&fixed[..], &["--extra-files", &extra]].concat()).succeeds();
        plain.anew();
    }
}

#[test]
fn the_test_in_a_machine_of_its_own_touches_no_target() {
    let Some(plain) = Plain::new() else { return };
    let landfall = |words: &[&str]| {
        run(plain.command(assert_cmd::cargo::cargo_bin!("landfall")).arg("install").args(words))
    };
    landfall(&[".#guppy", "--vm-test"])
        .ends(0, &["works in a virtual machine", "building vm-test"]);
    landfall(&["--flake", ".#broken", "--vm-test"])
        .ends(FAILED, &["the test of the installation failed"]);
    landfall(&[".#guppy", "--vm-test", "--extra-files", "."]).ends(USAGE, &["--extra-files"]);
    assert!(!plain.home(".local").exists());
}

#[test]
fn build_logs_are_shown_when_they_are_asked_for() {
    let Some(plain) = Plain::new() else { return };
    let target = plain.target_word();
    let shown = |words: &[&str]| {
        // A new text, so that there is something to build.
        let flake = plain.flake().join("flake.nix");
        let text = fs::read_to_string(&flake).unwrap();
        fs::write(&flake, format!("{text}# {words:?}\n")).unwrap();
        let ran = plain.install(&[&[".#guppy", &target, "--phases", "install"], words].concat());
        ran.text.contains("building nixos-system-guppy")
    };
    assert!(!shown(&[]));
    assert!(shown(&["-L"]));
    assert!(shown(&["--debug"]));
}
