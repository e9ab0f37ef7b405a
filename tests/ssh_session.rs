//! `landfall ssh`: a session with the key that a run pinned, whatever came after it.

mod common;

use common::journey::{HOST, Journey, Ran, USER, run};

#[test]
fn the_key_is_that_of_the_system_which_the_machine_has() {
    let Some(journey) = Journey::new() else { return };
    let session = |journey: &Journey, words: &[&str]| -> Ran {
        let mut landfall = journey.landfall();
        landfall.args(["ssh", HOST, "-i"]).arg(&journey.target.sshd.user_key).arg("--");
        run(landfall.args(words))
    };
    session(&journey, &["true"]).ends(2, &["no run of guppy has installed a system"]);
    run(&mut journey.bootstrap()).succeeds();
    // The installer is no system of the run's: it shows another key than the prepared one.
    session(&journey, &["true"]).ends(255, &["verification failed"]);

    let journey = journey.installed();
    assert_eq!(session(&journey, &["echo", "two  words"]).succeeds().stdout, "two  words\n");
    assert_eq!(session(&journey, &["echo one; exit 3"]).code, Some(3));

    // It is installed again, and has still its old system.
    let private = journey.run_dir().join("keys/ssh_host_ed25519_key");
    let (place, aside) = (private.clone(), journey.root.path().join("aside"));
    std::fs::rename(&private, &aside).unwrap();
    run(journey.landfall().args(["abandon", HOST, "--yes"])).succeeds();
    // The target's sshd reads it there for each connection.
    std::fs::rename(aside, place).unwrap();
    journey.target.runs("nixos", "installer");
    run(&mut journey.bootstrap()).succeeds();
    journey.target.runs("nixos", "");
    journey.target.is_used_by(USER);
    assert_eq!(session(&journey, &["echo", "still here"]).succeeds().stdout, "still here\n");
}
