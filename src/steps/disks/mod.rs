//! Step 8: the only step that destroys.
//!
//! Its last act writes the run's id into the partition table, so that a resumed
//! run recognises its own disks without unlocking anything and never formats
//! them again.

pub(crate) mod disko;
pub(crate) mod passphrases;
pub(crate) mod release;

use serde::{Deserialize, Serialize};

use super::context::Context;
use crate::config::choices::ChangedLayout;
use crate::config::installation::DiskoMode;
use crate::config::source::System;
use crate::error::{Exit, StepError};
use crate::facts::{DiskSecret, HostFacts, LayoutDisk, SecretKind};
use crate::run::facts::{StepFacts, Words};
use crate::run::journal;
use crate::run::step::{Disposition, Effect, Evidence, Machine, Status, StepId};
use crate::steps::Step;
use crate::steps::build;
use crate::target::NEW_ROOT;
use crate::target::disk_contents;
use crate::target::disks;
use crate::target::disks::{LayoutDisks, Matched};
use crate::target::{Disk, TargetFacts};
use crate::ui::prompt::Question;

pub(crate) struct Disks;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct DisksOutput {
    /// The names by which the disks are known for good.
    #[serde(default)]
    disks: Words,
    /// disko's script by which they were formatted; empty where that is not known.
    #[serde(default)]
    script: String,
}

/// Which disks are about to be erased or mounted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DisksIntention {
    #[serde(default)]
    pub(crate) disks: Words,
    /// disko's script that erases them; none where they are only mounted.
    script: Option<String>,
}

impl StepFacts for DisksOutput {
    const STEP: StepId = StepId::Disks;
}

impl StepFacts for DisksIntention {
    const STEP: StepId = StepId::Disks;
}

const FLAG: &str = "--changed-layout keep|format";

impl Step for Disks {
    fn id(&self) -> StepId {
        StepId::Disks
    }

    fn effects(&self, cx: &Context) -> &'static [Effect] {
        const ENCRYPTS: Effect = Effect {
            machine: Machine::Target,
            change: "ERASES the disks of the layout, partitions, encrypts and formats them",
            reversible: false,
        };
        const FORMATS: Effect = Effect {
            change: "ERASES the disks of the layout, partitions and formats them",
            ..ENCRYPTS
        };
        match cx.facts() {
            Ok(facts) if !facts.first().encrypts() => &[FORMATS],
            _ => &[ENCRYPTS],
        }
    }

    fn details(&self, cx: &Context) -> Vec<String> {
        cx.facts().map(|facts| described(facts.first())).unwrap_or_default()
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        if let Some(status) = cx.over_since_installed(StepId::Disks) {
            return Ok(status);
        }
        // What only was mounted has no mark: this run must have done it.
        let ours = match mode(cx) {
            DiskoMode::Mount => {
                journal::intention(cx.memory.journal.lines(), StepId::Disks).is_some()
            }
            DiskoMode::Disko | DiskoMode::Format => marked(cx)?,
        };
        if !ours || !mounted(cx)? || layout_changed(cx)? {
            return Ok(Status::Ready);
        }
        let serials = names(&touched(cx)?);
        let done = if mode(cx) == DiskoMode::Mount { "mounted" } else { "formatted, mounted" };
        let summary = format!("{} {done} at {NEW_ROOT}", serials.join(", "));
        let script = formatted_with(cx)?.unwrap_or_default();
        Ok(Status::Done(Evidence::of(summary, &DisksOutput { disks: Words(serials), script })?))
    }

    fn confirm(&self, cx: &mut Context) -> Result<Disposition, StepError> {
        passphrases::collect(cx)?;
        if mode(cx) == DiskoMode::Mount {
            return Ok(Disposition::Run); // nothing is written
        }
        if marked(cx)? {
            // Formatted by this run: only mounted again, unless a new layout is to have it.
            if !layout_changed(cx)? || ask_about_layout(cx)? == ChangedLayout::Keep {
                return Ok(Disposition::Run);
            }
        }
        confirm_erasure(cx)?;
        Ok(Disposition::Run)
    }

    fn intention(&self, cx: &Context) -> Result<Evidence, StepError> {
        let names = names(&touched(cx)?);
        let listed = names.join(", ");
        let mut intention = DisksIntention { disks: Words(names), script: None };
        if mode(cx) == DiskoMode::Mount || marked(cx)? {
            return Ok(Evidence::of(format!("mounts {listed}"), &intention)?);
        }
        intention.script = Some(build::preparing_script(cx)?.to_string());
        Ok(Evidence::of(format!("erases {listed}"), &intention)?)
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        let writes = writes(cx)?;
        let script = build::preparing_script(cx)?;
        let output = DisksOutput { script: script.to_string(), ..DisksOutput::default() };
        cx.produce("", &output)?;
        if !writes && mounted(cx)? {
            return Ok(()); // the disks stay, and are there already
        }
        // The disks as they are now, not as they were when the run began.
        let now = TargetFacts::read(&cx.target()?.session)?.disks;
        let layout = matched_with(cx, &now)?;
        if writes {
            disks::check_usable(&layout, needed_bytes(cx)?)?;
            disk_contents::check_alone(&layout.erased, &now)?;
            same_disks(cx, &layout)?;
            release::release(cx)?;
            if mode(cx) == DiskoMode::Disko {
                release::run(cx, &layout.erased)?;
            }
            disko::run(cx, &script, true)?;
        }
        // Some scripts leave mounted what they made, others do not.
        if !mounted(cx)? {
            disko::run(cx, &build::mounting_script(cx)?, false)?;
        }
        if !mounted(cx)? {
            return Err(StepError::new(
                format!("nothing is mounted at {NEW_ROOT}"),
                "disko's script ended without an error",
                "Does the layout give a mount point to every file system, and one of them /?",
            ));
        }
        if writes {
            mark(cx, &layout.erased)?;
        }
        Ok(())
    }
}

fn mode(cx: &Context) -> DiskoMode {
    cx.config.installation.disko_mode
}

/// Whether this step changes what is on the disks: not those that this run has formatted,
/// unless a new layout is to have them. Then that is confirmed anew.
fn writes(cx: &mut Context) -> Result<bool, StepError> {
    if mode(cx) == DiskoMode::Mount {
        return Ok(false);
    }
    if !marked(cx)? {
        return Ok(true);
    }
    if !layout_changed(cx)? || ask_about_layout(cx)? == ChangedLayout::Keep {
        return Ok(false);
    }
    confirm_erasure(cx)?;
    Ok(true)
}

/// Each disk of the layout with its device, and what opens those that are encrypted.
fn described(facts: &HostFacts) -> Vec<String> {
    let stays = |disk: &LayoutDisk| {
        if disk.destroy { "" } else { "; stays as it is (destroy = false)" }
    };
    let device = |disk: &LayoutDisk| match &disk.in_layout {
        None => format!("{}: {}", disk.name, disk.device),
        Some(said) if said.is_empty() => format!("{}: {} by --disk", disk.name, disk.device),
        Some(said) => {
            format!("{}: {} by --disk, in the layout {said}", disk.name, disk.device)
        }
    };
    let disk = |disk: &LayoutDisk| format!("{}{}", device(disk), stays(disk));
    let key = |secret: &DiskSecret| {
        let volumes = secret.volumes.join(", ");
        match (&secret.kind, secret.typed) {
            (SecretKind::Passphrase(_), true) => {
                format!("{volumes}: its passphrase is typed at each boot")
            }
            (SecretKind::Passphrase(_), false) => format!("{volumes}: opened by a passphrase"),
            _ if secret.kept => format!("{volumes}: opened by the key file {}", secret.path),
            _ => format!("{volumes}: opened by a new key file, {}", secret.path),
        }
    };
    let keys = facts.disk_secrets();
    facts.disks.iter().map(disk).chain(keys.iter().map(key)).collect()
}

/// A person sees what is on each disk and types its name, unless flags named it.
fn confirm_erasure(cx: &mut Context) -> Result<(), StepError> {
    let layout = of_layout(cx)?;
    if cx.memory.answers.erasure || disks::check_named(&layout, &cx.config.erase).is_ok() {
        return Ok(());
    }
    for Matched { name, disk, .. } in &layout.erased {
        let expected = disk.stable_name();
        let question =
            Question::new(format!("Erase it? Type {expected} to confirm"), "--erase DISK")
                .detail(format!("disk {name:?} of the layout: {} ({disk})", disk.path))
                .details(disk_contents::lines(disk))
                .details(layout.kept.iter().map(staying))
                .detail(match mode(cx) {
                    DiskoMode::Format => "What the layout misses is made on it.",
                    _ => "Everything on it will be lost.",
                });
        if !cx.prompter.type_to_confirm(&question, &expected)? {
            return Err(StepError::new(
                format!("{disk} may not be erased"),
                "it was not confirmed",
                "Nothing was changed on the disks. Run the command again when it may be.",
            )
            .exit(Exit::Person));
        }
    }
    cx.memory.answers.erasure = true;
    Ok(())
}

/// What is said of a disk of the layout that stays.
fn staying(kept: &Matched) -> String {
    format!(
        "disk {:?} of the layout, {} ({}), stays as it is.",
        kept.name, kept.disk.path, kept.disk
    )
}

/// disko's script that formatted the disks, or with which they were taken as they are.
fn formatted_with(cx: &Context) -> Result<Option<String>, StepError> {
    let known = cx.known_output::<DisksOutput>()?.map(|output| output.script);
    match known.filter(|script| !script.is_empty()) {
        Some(script) => Ok(Some(script)),
        None => Ok(cx.intended::<DisksIntention>()?.and_then(|begun| begun.script)),
    }
}

/// Whether the layout that was built last is another one than that of the disks.
fn layout_changed(cx: &Context) -> Result<bool, StepError> {
    let (Some(before), Ok(now)) = (formatted_with(cx)?, build::preparing_script(cx)) else {
        return Ok(false);
    };
    Ok(before != now.as_str())
}

/// What happens to the disks that this run formatted for another layout.
fn ask_about_layout(cx: &mut Context) -> Result<ChangedLayout, StepError> {
    if let Some(answer) = cx.memory.answers.changed_layout.or(cx.config.changed_layout) {
        return Ok(answer);
    }
    let question = Question::new("The layout changed. What about the disks?", FLAG)
        .detail("This run formatted them by another script of disko than the one of now.")
        .detail("A change of nixpkgs or disko makes another script too, of the same layout.");
    let options = [
        "keep them as they are, and mount them by the new layout".to_owned(),
        "erase and format them again".to_owned(),
    ];
    let answer = match cx.prompter.choose(&question, &options)? {
        0 => ChangedLayout::Keep,
        _ => ChangedLayout::Format,
    };
    cx.memory.answers.changed_layout = Some(answer);
    Ok(answer)
}

/// The disks of the layout on the target, as they were found when the run began.
pub(crate) fn of_layout(cx: &Context) -> Result<LayoutDisks, StepError> {
    matched_with(cx, &cx.target()?.facts.disks)
}

/// What is erased, or in mount mode all that is mounted.
fn touched(cx: &Context) -> Result<Vec<Matched>, StepError> {
    let LayoutDisks { mut erased, kept } = of_layout(cx)?;
    if mode(cx) == DiskoMode::Mount {
        erased.extend(kept);
    }
    Ok(erased)
}

fn names(matched: &[Matched]) -> Vec<String> {
    matched.iter().map(|matched| matched.disk.stable_name()).collect()
}

/// A script that was built elsewhere tells devices, not a layout: those of them that are
/// disks of the target.
fn matched_with(cx: &Context, disks: &[Disk]) -> Result<LayoutDisks, StepError> {
    let layout = &cx.facts()?.first().disks;
    Ok(match cx.config.system {
        System::StorePaths { .. } => disks::match_named(layout, disks)?,
        System::Repository(_) | System::Flake(_) => disks::match_layout(layout, disks)?,
    })
}

/// What was confirmed must be what is erased, even if device names moved meanwhile.
fn same_disks(cx: &Context, now: &LayoutDisks) -> Result<(), StepError> {
    let before = of_layout(cx)?;
    let (confirmed, found) = (names(&before.erased), names(&now.erased));
    if confirmed == found && names(&before.kept) == names(&now.kept) {
        return Ok(());
    }
    Err(StepError::new(
        "the disks of the target changed during the run",
        format!("confirmed: {}; found now: {}", confirmed.join(", "), found.join(", ")),
        "Nothing was erased. Run the same command again.",
    ))
}

/// The system, room for a second generation of it, and for the file systems themselves.
fn needed_bytes(cx: &Context) -> Result<u64, StepError> {
    let closure = build::closure_bytes(cx)?;
    Ok(closure.map_or(disks::LEAST_BYTES, |closure| closure * 2 + (512 << 20)))
}

/// Whether those of the target's disks that are erased carry the mark of this run.
fn marked(cx: &Context) -> Result<bool, StepError> {
    let erased = of_layout(cx)?.erased;
    for (index, matched) in erased.iter().enumerate() {
        let argv = ["sfdisk", "--disk-id", &matched.disk.path];
        // A blank disk has no id and makes sfdisk fail.
        let output = cx.target()?.session.root(&argv).output()?;
        if !output.text().trim().eq_ignore_ascii_case(&disk_id(cx, index)) {
            return Ok(false);
        }
    }
    Ok(!erased.is_empty())
}

pub(crate) fn mounted(cx: &Context) -> Result<bool, StepError> {
    let output = cx.target()?.session.run(&["findmnt", "--mountpoint", NEW_ROOT]).output()?;
    Ok(output.status.success())
}

/// What is copied below an empty folder of the installer fills its memory.
pub(crate) fn require_mounted(cx: &Context) -> Result<(), StepError> {
    if mounted(cx)? {
        return Ok(());
    }
    Err(StepError::new(
        format!("nothing is mounted at {NEW_ROOT} of the target"),
        "the system would be copied into the memory of the installer",
        "Take the disko phase along (--phases disko,install), if need be with --disko-mode mount; \
         or mount the new system's file systems there by hand.",
    )
    .exit(Exit::Usage))
}

fn mark(cx: &Context, erased: &[Matched]) -> Result<(), StepError> {
    for (index, matched) in erased.iter().enumerate() {
        let id = disk_id(cx, index);
        // The kernel need not read the table again: the partitions are in use.
        let argv =
            ["sfdisk", "--no-reread", "--no-tell-kernel", "--disk-id", &matched.disk.path, &id];
        cx.target()?.session.root(&argv).run().map_err(|error| {
            StepError::from(error)
                .doing(format!("{} could not be marked as this run's", matched.disk.path))
        })?;
    }
    Ok(())
}

/// The run's id, its last digits counted up so that no two disks share a GUID.
fn disk_id(cx: &Context, index: usize) -> String {
    let id = cx.run.run.as_u128().wrapping_add(index as u128);
    uuid::Uuid::from_u128(id).to_string().to_uppercase()
}
