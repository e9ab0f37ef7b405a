//! `landfall iso flash`: the image goes onto a removable drive.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use clap::Args;

use crate::cli::Cli;
use crate::cli::args::NixArgs;
use crate::error::{Exit, StepError};
use crate::image::flash;
use crate::image::flash::{Device, Drive, DriveError, FlashPhase, InternalDrives};
use crate::run::event::{Events, Progress};
use crate::ui::prompt::{Question, prompter};
use crate::ui::text::size;
use crate::ui::{Ui, say};

/// What a boot medium begins with: an ISO 9660 descriptor behind its first 32 KiB.
const DESCRIPTOR: (u64, &[u8]) = (0x8001, b"CD001");

#[derive(Debug, Clone, Args)]
pub(crate) struct IsoFlashArgs {
    /// The drive, best by its name in /dev/disk/by-id; without one, the removable drives are shown
    #[arg(value_name = "DRIVE")]
    pub(crate) drive: Option<PathBuf>,

    /// Write this image [default: the one that `iso build` builds]
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Option<PathBuf>,

    /// Allow for a drive that is not removable; it has to be confirmed by a person
    #[arg(long)]
    pub(crate) internal: bool,

    /// Ask nothing; the drive must be named as in /dev/disk/by-id
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,

    /// Attribute of the installer flake that is the image
    #[arg(long, value_name = "ATTR", conflicts_with = "image")]
    pub(crate) attr: Option<String>,

    #[command(flatten)]
    pub(crate) nix: NixArgs,
}

pub(crate) fn flash(cli: &Cli, args: &IsoFlashArgs) -> Result<Exit, StepError> {
    let Some(named) = &args.drive else { return Err(which(&Drive::list()?)) };
    // Before minutes of building: what is wrong with the drive is wrong with any image.
    let drive = Drive::find(named)?;
    let internal = match args.internal {
        true => InternalDrives::Allowed,
        false => InternalDrives::Refused,
    };
    drive.check(0, internal)?;
    drop(Device::open(&drive.path)?);
    let image = match &args.image {
        Some(image) => image.clone(),
        None => crate::cli::iso::built(cli, args.attr.as_deref(), &args.nix)?,
    };
    let (mut file, length) = open_image(&image)?;
    drive.check(length, internal)?;

    let (sender, receiver) = mpsc::channel();
    let ui = Ui::start(cli.log_format, cli.color, None, receiver);
    let events = Events::new("iso", sender);
    let written = confirm(&drive, named, args, &ui, &image)
        .and_then(|()| same_drive(&drive, named))
        .and_then(|()| Ok(Device::open(&drive.path)?))
        .and_then(|mut device| {
            Ok(flash::write(&mut device, &mut file, length, |phase, done| {
                events.progress(progress(phase, done, length));
            })?)
        });
    ui.finish();
    written.map_err(|error: StepError| match error.exit {
        Exit::Failed => error.doing(format!("{drive} could not be written")),
        _ => error,
    })?;
    say(format!("{drive} holds {}; it was read back and is the same.", image.display()));
    Ok(Exit::Done)
}

/// The drives that may be meant, when none was named.
fn which(drives: &[Drive]) -> StepError {
    let mut lines = Vec::new();
    for drive in drives.iter().filter(|drive| drive.is_removable() && !drive.is_loop()) {
        lines.push(drive.to_string());
        lines.extend(drive.by_id().map(|name| format!("  {}", name.display())));
        lines.extend(drive.contents().iter().map(|line| format!("  {line}")));
    }
    let why = match lines.is_empty() {
        true => "no removable drive is plugged in".to_owned(),
        false => format!("removable drives:\n{}", lines.join("\n")),
    };
    StepError::new("no drive was named", why, "landfall iso flash DRIVE").exit(Exit::Usage)
}

fn open_image(path: &Path) -> Result<(File, u64), StepError> {
    use std::os::unix::fs::FileExt;
    let refuse = |why: String| {
        StepError::new(
            format!("{} is no image to start from", path.display()),
            why,
            "Name an image with --image, or leave it out to build that of the config.",
        )
        .exit(Exit::Usage)
    };
    let file = File::open(path).map_err(|error| refuse(error.to_string()))?;
    let length = file.metadata().map_err(|error| refuse(error.to_string()))?.len();
    let (offset, wanted) = DESCRIPTOR;
    let mut found = vec![0; wanted.len()];
    match file.read_exact_at(&mut found, offset) {
        Ok(()) if found == wanted => Ok((file, length)),
        _ => Err(refuse("it is not an ISO 9660 image".into())),
    }
}

/// Who sees what will be lost may say yes; a flag may, for a name that always means this drive.
fn confirm(
    drive: &Drive,
    named: &Path,
    args: &IsoFlashArgs,
    ui: &Ui,
    image: &Path,
) -> Result<(), StepError> {
    let prompter = prompter(args.yes, ui.screen());
    // /dev/sdb is another drive tomorrow, and an internal one is nothing for a script.
    let says_which = drive.is_loop() || named.starts_with("/dev/disk");
    if args.yes && says_which && drive.is_removable() {
        return Ok(());
    }
    if !prompter.is_interactive() {
        return Err(nobody_confirms(drive));
    }
    let text = format!("Overwrite it? Type {} to confirm", drive.confirmation_name());
    let mut question = Question::new(text, "--yes")
        .detail(format!("drive: {drive}"))
        .detail(format!("image: {}", image.display()));
    if drive.contents().is_empty() {
        question = question.detail("nothing is on it that is known");
    }
    for line in drive.contents() {
        question = question.detail(format!("on it: {line}"));
    }
    question = question.detail("Everything on it will be lost.");
    if prompter.type_to_confirm(&question, &drive.confirmation_name())? {
        return Ok(());
    }
    Err(StepError::new(
        format!("{drive} was not confirmed"),
        "nothing was written to it",
        "Run the same command again when it may be overwritten.",
    )
    .exit(Exit::Person))
}

fn nobody_confirms(drive: &Drive) -> StepError {
    let hint = if !drive.is_removable() {
        "A drive that is not removable is confirmed by a person: run it in a terminal, without --yes."
            .to_owned()
    } else {
        match drive.by_id() {
            Some(name) => {
                format!(
                    "Run it in a terminal, or say --yes and name the drive for good: {}",
                    name.display()
                )
            }
            None => {
                "It has no name in /dev/disk/by-id: run it in a terminal, without --yes.".into()
            }
        }
    };
    StepError::new(
        format!("nobody confirms that {drive} may be overwritten"),
        "its name may mean another drive tomorrow",
        hint,
    )
    .exit(Exit::Person)
}

/// While a person thought, the drive may have been changed for another.
fn same_drive(drive: &Drive, named: &Path) -> Result<(), StepError> {
    match Drive::find(named) {
        Ok(now) if now == *drive => Ok(()),
        Ok(_) | Err(DriveError::NotFound { .. }) => Err(StepError::new(
            format!("{drive} is not what it was"),
            "another drive, or another use of it, since it was confirmed",
            "Nothing was written. Run the same command again.",
        )
        .exit(Exit::Person)),
        Err(error) => Err(error.into()),
    }
}

fn progress(phase: FlashPhase, done: u64, length: u64) -> Progress {
    let label = match phase {
        FlashPhase::Probing => {
            return Progress { label: "looking what it keeps".into(), ..Progress::default() };
        }
        FlashPhase::Writing => format!("writing {}", size(length)),
        FlashPhase::Verifying => format!("reading back {}", size(length)),
    };
    Progress { label, bytes_done: Some(done), bytes_total: Some(length), ..Progress::default() }
}
