//! What a second command of the same run says: of settings that changed, of a
//! configuration that moved on, of steps that are open again, of another machine.

use std::fs;
use std::io::Write;

use crate::common::installer::{DEVICE, SERIAL, disk};
use crate::common::journey::{Journey, run};

#[test]
fn what_changed_since_is_named_and_opens_what_hangs_on_it() {
    let Some(journey) = Journey::new() else { return };
    let first = run(&mut journey.bootstrap());
    assert!(!first.succeeds().text.contains("changed since"), "{}", first.text);
    let again = run(&mut journey.bootstrap());
    assert!(!again.succeeds().text.contains("open again"), "{}", again.text);

    let more = ["--require-unit", "web.service", "--option", "access-tokens", "canary-token"];
    let ran = run(journey.bootstrap().args(more));
    ran.ends(0, &["changed since the last run: require_units, nothing → web.service"]);
    assert!(!ran.text.contains("open again"), "{}", ran.text);
    assert!(!run(journey.bootstrap().args(more)).text.contains("changed since"));
    let run_dir = journey.run_dir();
    let remembered = fs::read_to_string(run_dir.join("journal.jsonl")).unwrap();
    assert!(remembered.contains("access-tokens") && !remembered.contains("canary-token"));

    fs::write(journey.config().join("vars.nix"), "{ username = \"alice\"; } # mended\n").unwrap();
    journey.commit_config("Mend the configuration");
    let ran = run(&mut journey.bootstrap());
    ran.ends(0, &["nix-config moved on: ", "build was done, and is open again"]);
    assert!(!ran.text.contains("hardware was done, and is open"), "{}", ran.text);
    let head = journey.git(&journey.config(), &["rev-parse", "HEAD"]);
    assert_eq!(journey.steps()["build"]["evidence"]["facts"]["revision"], head.as_str());
    assert!(!run(&mut journey.bootstrap()).text.contains("open again"));
}

#[test]
fn a_machine_with_other_disks_is_another_machine() {
    let Some(journey) = Journey::new() else { return };
    run(&mut journey.bootstrap()).succeeds();
    let journal = journey.run_dir().join("journal.jsonl");
    let mut file = fs::OpenOptions::new().append(true).open(&journal).unwrap();
    let begun = format!(
        "{{\"time\":\"2026-01-01T00:00:00Z\",\"kind\":\"started\",\"step\":\"disks\",\
         \"intention\":{{\"summary\":\"erases {SERIAL}\",\"facts\":{{\"disks\":\"{SERIAL}\"}}}}}}"
    );
    writeln!(file, "{begun}").unwrap();
    run(&mut journey.bootstrap()).succeeds();

    journey.target.has_disks(&[disk(DEVICE, "OTHER-2", 32)]);
    let before = journey.seen();
    let words = ["this is not the machine", SERIAL, "OTHER-2", "landfall abandon guppy"];
    run(&mut journey.bootstrap()).ends(3, &words);
    journey.check().ends(3, &words);
    assert_eq!(journey.seen(), before);
}
