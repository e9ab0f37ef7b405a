//! Plays a run that no machine takes part in, to look at what the user sees:
//! `cargo run --example ui_demo -- [--fail] [--ask] [--ask-secret] [--ask-name]
//! [--ask-yes] [--ask-which] [--fast] [--log-format …] [--color …]`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::use_debug,
    reason = "a demonstration for the terminal"
)]

use std::io::Write;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use clap::Parser;
use landfall::error::Advice;
use landfall::exec::signals;
use landfall::run::event::{Ending, Event, Events, Progress};
use landfall::run::step::{Evidence, StepId};
use landfall::ui::prompt::{PromptError, Question, prompter};
use landfall::ui::{ColorChoice, LogFormat, Ui, terminal};

#[derive(Parser)]
struct Arguments {
    /// The copy fails.
    #[arg(long)]
    fail: bool,
    /// A person is asked before the disks are erased.
    #[arg(long)]
    ask: bool,
    /// Only a new passphrase is asked for.
    #[arg(long)]
    ask_secret: bool,
    /// Only two names are asked for.
    #[arg(long)]
    ask_name: bool,
    /// Only a yes or no is asked for.
    #[arg(long)]
    ask_yes: bool,
    /// Only one of three is asked for.
    #[arg(long)]
    ask_which: bool,
    /// Text that comes from elsewhere, in those two questions.
    #[arg(long, default_value = "QEMU HARDDISK")]
    foreign: String,
    /// Twenty times as fast.
    #[arg(long)]
    fast: bool,
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
    #[arg(long, value_enum, default_value_t)]
    color: ColorChoice,
}

/// The play: events, and the pauses between them.
struct Play {
    events: Events,
    second: Duration,
}

impl Play {
    fn pause(&self, seconds: f64) {
        std::thread::sleep(self.second.mul_f64(seconds));
    }

    fn step(&self, id: StepId, evidence: &str, act: impl FnOnce(&Events)) {
        let events = self.events.of(id);
        let began = Instant::now();
        events.emit(Event::StepStarted { title: id.title().into() });
        act(&events);
        events.emit(Event::StepEnded {
            ending: Ending::Applied,
            evidence: Evidence::new(evidence),
            seconds: began.elapsed().as_secs_f64() / self.second.as_secs_f64(),
        });
    }

    fn copy(&self, events: &Events, label: &str, until: u64) {
        for tenth in 0..=until * 10 {
            events.progress(Progress {
                label: format!("{label} /nix/store/{tenth:032}-linux-6.12.{}", tenth % 7),
                bytes_done: Some(tenth * 249_561_088 / 100),
                bytes_total: Some(249_561_088),
                items_done: Some(tenth * 52 / 100),
                items_total: Some(52),
            });
            self.pause(0.1);
        }
    }
}

/// Tells the answer, and ends as the program does.
fn end<T: std::fmt::Debug>(ui: Ui, answer: Result<T, PromptError>) {
    ui.finish();
    let mut out = std::io::stdout();
    // The terminal may be gone.
    let _ = writeln!(out, "{answer:?}");
    if let Err(error) = answer {
        std::process::exit(error.exit() as i32);
    }
}

fn main() {
    let arguments = Arguments::parse();
    let (sender, receiver) = channel();
    let resume = "landfall bootstrap guppy root@192.0.2.10".to_owned();
    let ui = Ui::start(arguments.log_format, arguments.color, Some(resume), receiver);
    let prompter = prompter(false, ui.screen());
    signals::install(terminal::restore);
    let foreign = &arguments.foreign;
    if arguments.ask_yes {
        let question = Question::new(format!("Erase {foreign}?"), "--erase DISK").detail(foreign);
        return end(ui, prompter.confirm(&question));
    }
    if arguments.ask_which {
        let options = ["one", foreign, "three"].map(str::to_owned);
        return end(ui, prompter.choose(&Question::new("Which one?", "--which N"), &options));
    }
    if arguments.ask_name {
        let names =
            prompter.text(&Question::new("Name?", "--name NAME"), Some("guppy")).and_then(|name| {
                Ok((name, prompter.text(&Question::new("Other name?", "--name NAME"), None)?))
            });
        return end(ui, names.map(|(name, other)| format!("named {name} and {other}.")));
    }
    if arguments.ask_secret {
        let question = Question::new("New passphrase", "--luks-passphrase-file FILE");
        let secret = prompter.new_secret(&question);
        return end(ui, secret.map(|secret| format!("{} bytes", secret.expose().len())));
    }
    let second = Duration::from_millis(if arguments.fast { 50 } else { 1000 });
    let play = Play { events: Events::new("guppy", sender), second };

    play.events.emit(Event::RunStarted {
        run: "0b5c7a52-3c1e-4a52-9f5e-8d1f3a6b7c90".into(),
        strategy: "staged".into(),
        target: "root@192.0.2.10:22".into(),
        log: Some(
            "/home/ann/.local/state/landfall/guppy/0b5c7a52-3c1e-4a52-9f5e-8d1f3a6b7c90/log".into(),
        ),
        resumed: false,
    });
    play.events.emit(Event::Phase { phase: "installer".into() });
    play.step(StepId::Check, "31 checks passed, 1 warning", |events| {
        play.pause(0.7);
        events.warn("the target has 2.0 GiB of memory: enough to install, but a build on it would need a swap file or the option --build-on source");
        play.pause(0.5);
    });
    play.step(StepId::Identity, "SSH host key SHA256:qX0hZ0yT8b2GqvYv2yVtq3bSxWq0F8k4k0i9nq2vW2c, age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq", |_| play.pause(0.3));
    play.step(StepId::Secrets, "3 files re-encrypted and proven, pushed as 1f3c9ab", |events| {
        play.pause(0.4);
        events.note("hosts/guppy.yaml: + host_guppy");
        play.pause(0.4);
    });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            play.step(StepId::Hardware, "hardware-configuration.nix committed as 77ab01c", |_| {
                play.pause(2.0)
            })
        });
        play.step(StepId::Build, "52 paths, 238 MiB", |events| play.copy(events, "building", 4));
    });
    if arguments.ask {
        let question = Question::new("Erase this disk?", "--erase DISK")
            .detail("/dev/disk/by-id/virtio-S1: QEMU HARDDISK, serial S1, 20 GiB")
            .detail("on it: vfat (ESP), crypto_LUKS");
        match prompter.type_to_confirm(&question, "S1") {
            Ok(true) => {}
            other => {
                let _ = writeln!(std::io::stdout(), "not erased: {other:?}");
                return end(ui, other);
            }
        }
    }
    play.step(StepId::Disks, "disk S1 carries the run's GUID and is mounted at /mnt", |_| {
        play.pause(1.0)
    });
    if arguments.fail {
        let events = play.events.of(StepId::Copy);
        events.emit(Event::StepStarted { title: StepId::Copy.title().into() });
        play.copy(&events, "copying", 3);
        events.emit(Event::StepFailed {
            what: "copying the system to guppy failed".into(),
            why: "nix copy --to ssh-ng://root@192.0.2.10 ended with exit status 1\nerror: cannot write to the file '/mnt/nix/store/x': No space left on device".into(),
            hint: "Make the file system of /nix larger in the disk layout, then run the same command again.".into(),
            seconds: 3.0,
        });
        play.events.emit(Event::RunEnded { exit: 1, seconds: 9.0 });
    } else {
        play.step(StepId::Copy, "238 MiB in 52 paths", |events| play.copy(events, "copying", 10));
        play.step(StepId::Reboot, "new boot id, host key as prepared", |events| {
            events.emit(Event::Waiting {
                what: "the installed system, with the host key of step 2, on 192.0.2.10:22".into(),
                deadline_seconds: 600,
            });
            play.pause(3.0);
            events.emit(Event::Arrived { what: "the installed system answers".into() });
        });
        play.events.of(StepId::Retire).emit(Event::StepEnded {
            ending: Ending::Skipped,
            evidence: Evidence::new("guppy was not installed before"),
            seconds: 0.0,
        });
        play.events.emit(Event::RunEnded { exit: 0, seconds: 31.0 });
    }
    ui.finish();
}
