//! Step 1: everything that could fail later is tried now, and nothing is changed.
//!
//! All problems are told at once, each with what to do, so that one round of
//! mending is enough.

use crate::build_on::{BuildOn, Builder};
use crate::config::Push;
use crate::context::Context;
use crate::disks;
use crate::error::{Exit, StepError};
use crate::git::Repo;
use crate::installation::DiskoMode;
use crate::inventory;
use crate::kexec;
use crate::keys;
use crate::layout;
use crate::machine::Phase;
use crate::origin::Origin;
use crate::passphrase;
use crate::step::{Effect, Evidence, Machine, Status, Step, StepId};
use crate::steps::remote::{Place, require_clean};
use crate::steps::{
    firmware, flake_hardware, hardware, home, install, installer, installs, lock, repos, secrets,
};

pub struct Check;

/// Below this nixos-install and nix's daemon do not fit beside the installer.
const LEAST_MEMORY: u64 = 900 << 20;
/// Mount points that NixOS always mounts in the initrd.
const EARLY_MOUNTS: [&str; 9] =
    ["/", "/nix", "/nix/store", "/var", "/var/log", "/var/lib", "/var/lib/nixos", "/etc", "/usr"];

impl Step for Check {
    fn id(&self) -> StepId {
        StepId::Check
    }

    fn effects(&self, _cx: &Context) -> &'static [Effect] {
        &[Effect { machine: Machine::Both, change: "nothing", reversible: true }]
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        Ok(match cx.produced.get(&StepId::Check) {
            Some(evidence) => Status::Done(evidence.clone()),
            None => Status::Ready,
        })
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        // Without nix nothing else can be said.
        cx.nix()?;
        let mut findings = Findings::default();
        if cx.config.origin == Origin::Repository {
            findings.take(config_repo(cx));
        }
        findings.take(given_key(cx));
        findings.take(passphrase::disk_keys(cx).map(|_| ()));
        // Without an evaluation there is nothing further to say of the configuration.
        if findings.take(cx.facts().map(|_| ())) {
            configuration(cx, &mut findings);
            secrets_repo(cx, &mut findings);
            target(cx, &mut findings);
            // A passphrase that was made up has to find a place.
            if findings.problems.is_empty() && !cx.answers.made.is_empty() {
                findings.take(secrets::preflight(cx));
            }
        }
        let evidence = findings.verdict(cx)?;
        cx.produced.insert(StepId::Check, evidence);
        Ok(())
    }
}

/// What was found, good and bad.
#[derive(Default)]
pub struct Findings {
    passed: usize,
    problems: Vec<StepError>,
}

impl Findings {
    /// Notes how a check went; true when it passed.
    pub fn take(&mut self, result: Result<(), StepError>) -> bool {
        let passed = result.is_ok();
        match result {
            Ok(()) => self.passed += 1,
            Err(problem) => self.problems.push(problem),
        }
        passed
    }

    fn verdict(self, cx: &Context) -> Result<Evidence, StepError> {
        match self.problems.as_slice() {
            [] => {
                let phase = cx.phase;
                Ok(Evidence::new(format!("{} checks passed, target: {phase}", self.passed)))
            }
            [only] => Err(only.clone()),
            several => Err(together(several)),
        }
    }
}

/// Several problems as one error; it ends as the first of them would.
fn together(problems: &[StepError]) -> StepError {
    let mut why = String::new();
    for (index, problem) in problems.iter().enumerate() {
        why.push_str(&format!("{}. {}\n", index + 1, problem.what));
        for line in problem.why.lines() {
            why.push_str(&format!("   {line}\n"));
        }
        why.push_str(&format!("   → {}\n", problem.hint));
    }
    StepError::new(
        format!("{} things stand in the way", problems.len()),
        why.trim_end().to_owned(),
        "Mend them, then run the same command again; nothing was changed.",
    )
    .exit(problems[0].exit)
}

/// A host key that is given must be usable, and that of the run where there is one:
/// its recipient may be in the secrets already.
fn given_key(cx: &Context) -> Result<(), StepError> {
    let Some(path) = &cx.config.host_key else { return Ok(()) };
    let given = keys::read_given(path)?.fingerprint();
    match cx.keys().public().map(|key| key.fingerprint()) {
        Some(ours) if ours != given => Err(StepError::new(
            "the run was begun with another host key",
            format!("it has {ours}, {} is {given}", path.display()),
            format!("Leave --host-key out, or forget the run: landfall abandon {}", cx.config.host),
        )
        .exit(Exit::Usage)),
        _ => Ok(()),
    }
}

fn config_repo(cx: &Context) -> Result<(), StepError> {
    let repo = Repo::open(&cx.config.repo)?;
    clean(cx, &repo)?;
    repo.committer()?;
    pushable(cx, &repo)
}

/// Files that are not committed would be missing from what is installed, or would
/// make it something that no commit describes.
fn clean(cx: &Context, repo: &Repo) -> Result<(), StepError> {
    // Secrets that lie in the configuration itself.
    let inside = cx.config.secrets.as_ref().is_some_and(|secrets| secrets.input.is_none());
    let secrets = if inside { secrets::left_by_this_run(cx, repo)? } else { Vec::new() };
    require_clean(repo, |path| {
        hardware::left_by_this_run(cx, path) || secrets.iter().any(|ours| ours == path)
    })
}

fn pushable(cx: &Context, repo: &Repo) -> Result<(), StepError> {
    Place::of(cx, repo.root())?.with_own(hardware::own_commits(cx)).check()
}

fn configuration(cx: &Context, findings: &mut Findings) {
    if cx.config.installation.phases.disko {
        findings.take(layout(cx));
        tell_devices(cx);
    }
    findings.take(builder(cx));
    match cx.config.origin {
        Origin::Repository => findings.take(hardware::hardware_file(cx).map(|_| ())),
        Origin::Flake(_) | Origin::StorePaths { .. } => findings.take(flake_hardware::check(cx)),
    };
    findings.take(flake_hardware::is_read(cx));
    installs::check(cx, findings);
    findings.take(early_keys(cx));
    // Who does not wait for the reboot need not log in after it.
    if cx.config.installation.phases.reboot {
        findings.take(logins(cx));
    }
    findings.take(home::check(cx));
    match repos::copied(cx) {
        Ok(true) => {
            findings.take(git_there(cx));
            for dir in repos::dirs(cx) {
                findings.take(Repo::open(&dir).map(|_| ()).map_err(Into::into));
            }
        }
        Ok(false) => {}
        // That the user is not clear is found by itself.
        Err(_) => {}
    }
}

fn layout(cx: &Context) -> Result<(), StepError> {
    let facts = cx.facts()?.first();
    if let Some(volume) = facts.luks().find(|v| v.password_file.is_none() && v.key_file.is_none()) {
        return Err(StepError::new(
            format!("nothing gives the encrypted volume {} its passphrase", volume.name),
            "disko would ask for it on a terminal that nobody sees",
            format!("Set passwordFile = \"/tmp/{}.passphrase\" in its layout.", volume.name),
        )
        .exit(Exit::Usage));
    }
    for volume in facts.luks().filter(|volume| facts.key_files(volume).is_empty()) {
        if let Some(file) = facts.crypttab_key_file(&volume.name) {
            return Err(StepError::new(
                format!("nothing makes {file}, with which {} is opened", volume.name),
                "/etc/crypttab names it, and the layout of the disks has no key file",
                format!(
                    "Set additionalKeyFiles = [ \"{file}\" ] in the layout of {}.",
                    volume.name
                ),
            )
            .exit(Exit::Usage));
        }
    }
    if !facts.disks.is_empty() && facts.builds.iter().any(|build| build != "toplevel") {
        return Ok(());
    }
    Err(StepError::new(
        format!("{} has no disk layout", cx.config.host),
        "disko.devices.disk is empty, or disko's module is not imported",
        "Import disko.nixosModules.disko and a layout in the host's configuration.",
    )
    .exit(Exit::Usage))
}

/// The repositories are received by git on the system that is installed first.
fn git_there(cx: &Context) -> Result<(), StepError> {
    if cx.facts()?.first().has_git {
        return Ok(());
    }
    Err(StepError::new(
        "the system that is installed first has no git",
        "the repositories could not be copied to it",
        "Set programs.git.enable = true in its configuration; --no-repos leaves the repositories out.",
    )
    .exit(Exit::Usage))
}

/// What is chosen for the builds can build.
fn builder(cx: &Context) -> Result<(), StepError> {
    let system = &cx.facts()?.full.system;
    let nix = cx.nix()?;
    let settings = nix.build_settings()?;
    match cx.builder()? {
        Builder::Source if !settings.can_build(system) => Err(settings.cannot_build(system)),
        Builder::Store(uri) => nix.reaches(uri).map_err(|error| {
            StepError::from(error).doing(format!("the store {uri} of --build-on does not answer"))
        }),
        Builder::Target if cx.config.build_on == BuildOn::Auto => {
            cx.events.note(format!(
                "nothing here builds for {system}: the target builds its systems itself"
            ));
            Ok(())
        }
        Builder::Source | Builder::Target => Ok(()),
    }
}

/// `--disk` leaves the layout as it is, which then tells of other disks.
fn tell_devices(cx: &Context) {
    if cx.config.devices.is_empty() || cx.phase == Phase::Installed {
        return;
    }
    let Ok(facts) = cx.facts() else { return };
    let mut text = "the layout is used with other devices than it names:".to_owned();
    for disk in &facts.first().disks {
        if let Some(said) = &disk.in_layout {
            let said = if said.is_empty() { "no device" } else { said };
            text.push_str(&format!("\n  {}: {}, not {said}", disk.name, disk.device));
        }
    }
    text.push_str(
        "\nThe configuration stays as it is. So that it tells of these disks, write into it:\n",
    );
    text.push_str(&layout::to_write(&cx.config.devices));
    cx.events.warn(text);
}

/// A host key or age key on a file system that is mounted late comes too late for the
/// secrets.
fn early_keys(cx: &Context) -> Result<(), StepError> {
    let facts = &cx.facts()?.full;
    let host_keys = install::key_paths(cx)?.into_iter().map(|path| ("host key", path));
    let age_key = facts.age_key_file.iter().map(|path| ("age key", facts.stored_at(path)));
    for (key, path) in host_keys.chain(age_key) {
        let Some(fs) = facts.file_system_of(&path) else { continue };
        if !fs.needed_for_boot && !EARLY_MOUNTS.contains(&fs.mount_point.as_str()) {
            return Err(StepError::new(
                format!("the {key} would be mounted too late ({})", fs.mount_point),
                format!("{path} is read before file systems that the initrd does not mount"),
                format!("Set fileSystems.\"{}\".neededForBoot = true.", fs.mount_point),
            )
            .exit(Exit::Usage));
        }
    }
    Ok(())
}

/// Without a key for somebody nobody gets in after the reboot.
fn logins(cx: &Context) -> Result<(), StepError> {
    let user = cx.primary_user()?;
    let facts = cx.facts()?;
    for (config, name) in [(facts.first(), "installed first"), (&facts.full, "full")] {
        if !config.ssh_enabled {
            return Err(StepError::new(
                format!("the {name} configuration has no SSH server"),
                "services.openssh.enable is false",
                "Enable it: landfall verifies the installed system over SSH.",
            )
            .exit(Exit::Usage));
        }
        let root = user == "root" && config.root_keys > 0;
        if !root && !config.users.iter().any(|known| known.name == user && known.keys > 0) {
            return Err(StepError::new(
                format!("{user} has no SSH key in the {name} configuration"),
                "nobody could log in after the reboot",
                format!("Set users.users.{user}.openssh.authorizedKeys.keys, or name another user with --user."),
            )
            .exit(Exit::Usage));
        }
    }
    Ok(())
}

fn secrets_repo(cx: &Context, findings: &mut Findings) {
    let Some(config) = &cx.config.secrets else {
        findings.take(no_secrets(cx));
        return;
    };
    if cx.phase == Phase::Installed && cx.finished(StepId::Secrets).is_some() {
        return;
    }
    let edited = Repo::open(&config.dir).map_err(StepError::from).and_then(|repo| {
        secrets::clean(cx, &repo)?;
        pushable(cx, &repo)
    });
    // What cannot be pushed is no place to try the edit.
    let usable = edited.is_ok();
    if config.input.is_some() {
        findings.take(edited);
    }
    if usable && cx.config.secrets_apart() && cx.config.push != Push::No {
        findings.take(lock::follows(cx));
    }
    if usable {
        findings.take(secrets::preflight(cx));
    }
}

fn no_secrets(cx: &Context) -> Result<(), StepError> {
    let needed = cx.facts()?.full.secrets.len();
    if needed == 0 || cx.config.no_secrets {
        return Ok(());
    }
    Err(StepError::new(
        format!("{} needs {needed} secrets, and their repository was not found", cx.config.host),
        "there is no flake input with `secret` in its name and no .sops.yaml",
        "Set `secrets = \"../nix-secrets\"` in landfall.toml; --no-secrets installs without.",
    )
    .exit(Exit::Usage))
}

fn target(cx: &mut Context, findings: &mut Findings) {
    let Some(target) = &cx.target else { return };
    let facts = target.facts.clone();
    if cx.phase == Phase::Foreign {
        findings.take(architecture(cx, &facts.system));
        findings.take(firmware::check(cx, &facts));
        findings.take(replaceable(cx));
        findings.take(disks_named(cx));
    }
    if cx.phase != Phase::Installer {
        return;
    }
    findings.take(architecture(cx, &facts.system));
    findings.take(memory(facts.memory_bytes));
    findings.take(firmware::check(cx, &facts));
    if cx.config.installation.phases.disko {
        findings.take(disks_usable(cx));
    }
    // Where nobody can be asked, what is missing is told now.
    let asks = cx.config.installation.phases.disko;
    if asks && (!cx.prompter.is_interactive() || !cx.config.passphrases.is_empty()) {
        findings.take(passphrase::collect(cx));
    }
    match hardware::difference(cx) {
        Ok(Some(diff)) => cx.events.warn(format!(
            "the hardware file is kept, and differs from what the target reports \
             (--hardware generate-config takes that over):\n{diff}"
        )),
        Ok(None) => {}
        Err(problem) => {
            findings.take(Err(problem));
        }
    }
}

/// Whether what runs there may and can make way for the installer.
fn replaceable(cx: &Context) -> Result<(), StepError> {
    let target = cx.target()?;
    // Under --yes nobody can be asked, and only a named image has been agreed to.
    let agreed = cx.config.kexec.image.is_some() || cx.prompter.is_interactive();
    if cx.config.kexec.forbidden || !agreed {
        return Err(installer::not_an_installer(&target.facts));
    }
    let image = kexec::image(cx)?;
    kexec::preflight(&target.session, &target.facts, &image).map(|_| ())
}

fn architecture(cx: &Context, system: &str) -> Result<(), StepError> {
    let wanted = &cx.facts()?.full.system;
    if wanted == system {
        return Ok(());
    }
    Err(StepError::new(
        format!("the configuration is for {wanted}, the target is {system}"),
        "",
        "Is it the right machine, and nixpkgs.hostPlatform right?",
    )
    .exit(Exit::Usage))
}

fn memory(bytes: u64) -> Result<(), StepError> {
    if bytes >= LEAST_MEMORY {
        return Ok(());
    }
    Err(StepError::new(
        format!("the target has too little memory: {}", disks::bytes(bytes)),
        format!("the installation needs {}", disks::bytes(LEAST_MEMORY)),
        "Give the machine more memory.",
    )
    .exit(Exit::Usage))
}

fn disks_usable(cx: &Context) -> Result<(), StepError> {
    let matched = crate::steps::disks::matched(cx)?;
    let disks = &cx.target()?.facts.disks;
    cx.events.note(inventory::table(disks, &matched));
    if cx.config.installation.disko_mode == DiskoMode::Mount {
        return Ok(());
    }
    disks::check_usable(&matched, disks::LEAST_BYTES)?;
    inventory::check_alone(&matched, disks)?;
    disks_named(cx)
}

fn disks_named(cx: &Context) -> Result<(), StepError> {
    let matched = crate::steps::disks::matched(cx)?;
    if !cx.prompter.is_interactive() && cx.finished(StepId::Disks).is_none() {
        disks::check_named(&matched, &cx.config.erase)?;
    }
    Ok(())
}
