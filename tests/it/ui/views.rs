//! What a run looks like in each format, with the clock and the screen in our hands.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use landfall::run::event::{Ending, Event, Progress, Stamped};
use landfall::run::step::{Evidence, StepId};
use landfall::ui::human::Human;
use landfall::ui::live::Size;
use landfall::ui::plain::Plain;
use landfall::ui::{Json, Style, Ui, View};

const RESUME: &str = "landfall bootstrap guppy root@192.0.2.10";

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_000 + (seconds * 1000.0) as i64).unwrap()
}

fn stamped(seconds: f64, step: impl Into<Option<StepId>>, event: Event) -> Stamped {
    Stamped { time: at(seconds), host: "guppy".into(), step: step.into(), event }
}

fn started(seconds: f64, step: StepId) -> Stamped {
    stamped(seconds, step, Event::StepStarted { title: step.title().into() })
}

fn ended(seconds: f64, step: StepId, took: f64, ending: Ending, evidence: &str) -> Stamped {
    let evidence = Evidence::new(evidence);
    stamped(seconds, step, Event::StepEnded { ending, evidence, seconds: took })
}

fn copied(seconds: f64, mebibytes: u64) -> Stamped {
    let progress = Progress {
        label: "copying linux-6.12.57".into(),
        bytes_done: Some(mebibytes << 20),
        bytes_total: Some(238 << 20),
        items_done: Some(mebibytes / 5),
        items_total: Some(52),
    };
    stamped(seconds, StepId::Copy, Event::Progress { progress })
}

/// A resumed run, up to the middle of the copy.
fn beginning() -> Vec<Stamped> {
    use StepId::{Build, Check, Copy, Hardware, Identity};
    let run = Event::RunStarted {
        run: "0b5c7a52-3c1e-4a52-9f5e-8d1f3a6b7c90".into(),
        strategy: "staged".into(),
        target: "root@192.0.2.10:22".into(),
        log: Some("/home/ann/.local/state/landfall/guppy/0b5c7a52/log".into()),
        resumed: true,
    };
    let warning =
        "the target has 2.0 GiB of memory: enough to install, \x1b[2Jnot enough to build there";
    let mut events = vec![
        stamped(0.0, None, run),
        stamped(0.1, None, Event::Phase { phase: "installer".into() }),
        started(0.2, Check),
        stamped(0.5, Check, Event::Warning { text: warning.into() }),
        ended(1.4, Check, 1.2, Ending::Applied, "31 checks passed"),
        ended(1.5, Identity, 0.0, Ending::AlreadyDone, "host key SHA256:qX0hZ0yT8b2GqvYv2yVt"),
        started(2.0, Hardware),
        started(2.0, Build),
        stamped(3.0, Hardware, Event::Note { text: "two lines\nof a note".into() }),
        ended(9.0, Hardware, 7.0, Ending::Applied, "committed as 77ab01c"),
        ended(75.0, Build, 73.0, Ending::Applied, "52 paths, 238 MiB"),
        started(80.0, Copy),
    ];
    // A flood, as nix makes it.
    events.extend(
        (0..=1200).map(|tick| copied(80.0 + f64::from(tick) / 100.0, u64::from(tick as u32) / 10)),
    );
    events
}

fn good_end() -> Vec<Stamped> {
    let what = "the installed system on 192.0.2.10:22".to_owned();
    vec![
        ended(104.0, StepId::Copy, 24.0, Ending::Applied, "238 MiB in 52 paths"),
        started(104.0, StepId::Reboot),
        stamped(105.0, StepId::Reboot, Event::Waiting { what, deadline_seconds: 600 }),
        stamped(125.0, StepId::Reboot, Event::Arrived { what: "it answers".into() }),
        ended(126.0, StepId::Reboot, 22.0, Ending::Applied, "new boot id"),
        ended(126.0, StepId::Retire, 0.0, Ending::Skipped, "guppy is new"),
        stamped(126.0, None, Event::RunEnded { exit: 0, seconds: 126.0 }),
    ]
}

fn bad_end() -> Vec<Stamped> {
    let failed = Event::StepFailed {
        what: "copying the system to guppy failed".into(),
        why: "nix copy ended with exit status 1\nerror: No space left on device".into(),
        hint: "Make the file system of /nix larger in the disk layout, then run the same command again."
            .into(),
        seconds: 12.0,
    };
    vec![
        stamped(92.0, StepId::Copy, failed),
        stamped(92.0, None, Event::RunEnded { exit: 1, seconds: 92.0 }),
    ]
}

/// A stream that can be read while a view holds it.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn plain(events: &[Stamped]) -> String {
    let out = Shared::default();
    let mut view = Plain::new(out.clone(), TimeZone::UTC, Style::PLAIN, Some(RESUME.into()));
    for event in events {
        view.show(event).unwrap();
    }
    out.text()
}

/// What a terminal of `columns` columns shows after `events`.
fn screen(events: &[Stamped], columns: u16, size: fn() -> Size) -> String {
    let out = Shared::default();
    let style = Style { color: true, columns: Some(columns.into()) };
    let mut view = Human::new(out.clone(), size, style, Some(RESUME.into()));
    for event in events {
        view.show(event).unwrap();
    }
    if let Some(last) = events.last() {
        view.tick(last.time).unwrap();
    }
    let [rows, width] = [50, columns].map(|count| count.try_into().unwrap());
    let mut terminal = vt100::Parser::new(rows, width, 0);
    terminal.process(out.text().as_bytes());
    let rows: Vec<String> = terminal.screen().rows(0, columns).collect();
    let rows: Vec<&str> = rows.iter().map(|row| row.trim_end()).collect();
    format!("{}\n", rows.join("\n").trim_end())
}

fn all(end: Vec<Stamped>) -> Vec<Stamped> {
    let mut events = beginning();
    events.extend(end);
    events
}

#[test]
fn plain_lines_of_a_run_that_ends_well() {
    insta::assert_snapshot!(plain(&all(good_end())));
}

#[test]
fn plain_lines_of_a_run_that_fails() {
    insta::assert_snapshot!(plain(&all(bad_end())));
}

#[test]
fn plain_lines_hold_no_control_character() {
    let text = plain(&all(good_end()));
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
}

#[test]
fn the_live_view_in_the_middle_at_80_columns() {
    insta::assert_snapshot!(screen(&beginning(), 80, || Size { rows: 50, columns: 80 }));
}

#[test]
fn the_live_view_in_the_middle_at_120_columns() {
    insta::assert_snapshot!(screen(&beginning(), 120, || Size { rows: 50, columns: 120 }));
}

#[test]
fn the_live_view_in_the_middle_at_32_columns() {
    insta::assert_snapshot!(screen(&beginning(), 32, || Size { rows: 50, columns: 32 }));
}

#[test]
fn the_live_view_while_it_waits() {
    let events: Vec<Stamped> =
        all(good_end()).into_iter().take_while(|stamped| stamped.time < at(125.0)).collect();
    let shown = screen(&events, 80, || Size { rows: 50, columns: 80 });
    let waiting = shown.lines().find(|line| line.contains("waiting")).unwrap();
    assert_eq!(
        waiting.trim(),
        "waiting for the installed system on 192.0.2.10:22, 0s of at most 10m"
    );
}

#[test]
fn the_live_view_at_its_end_leaves_no_live_line() {
    insta::assert_snapshot!(screen(&all(good_end()), 80, || Size { rows: 50, columns: 80 }));
}

#[test]
fn the_live_view_explains_a_failure() {
    insta::assert_snapshot!(screen(&all(bad_end()), 80, || Size { rows: 50, columns: 80 }));
}

#[test]
fn json_is_one_event_a_line() {
    let out = Shared::default();
    let mut view = Json(out.clone());
    let events = all(bad_end());
    for event in &events {
        view.show(event).unwrap();
    }
    let text = out.text();
    assert_eq!(text.lines().count(), events.len());
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        for key in ["time", "host", "kind"] {
            assert!(value[key].is_string(), "{line}");
        }
    }
}

#[test]
fn finishing_shows_all_that_was_emitted_though_a_sender_lives() {
    let out = Shared::default();
    let (sender, receiver) = std::sync::mpsc::channel();
    let ui = Ui::with_view(Box::new(Json(out.clone())), receiver);
    for event in beginning() {
        sender.send(event).unwrap();
    }
    ui.finish();
    assert_eq!(out.text().lines().count(), beginning().len());
    drop(sender);
}

#[test]
fn what_was_emitted_before_a_question_is_shown_before_it() {
    let out = Shared::default();
    let (sender, receiver) = std::sync::mpsc::channel();
    let ui = Ui::with_view(Box::new(Json(out.clone())), receiver);
    sender.send(started(0.0, StepId::Disks)).unwrap();
    let seen = ui.suspend(|| {
        sender.send(started(1.0, StepId::Copy)).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(250));
        out.text()
    });
    assert_eq!(seen.lines().count(), 1, "{seen}");
    ui.finish();
    assert_eq!(out.text().lines().count(), 2);
}

/// A pipe whose reader has gone.
struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[test]
fn a_run_goes_on_when_nobody_reads() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let ui = Ui::with_view(Box::new(Json(Broken)), receiver);
    for event in beginning() {
        sender.send(event).unwrap();
    }
    ui.finish();
}
