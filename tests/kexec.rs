//! A target that runs something else: what may replace it, and what may not.
//!
//! Nothing here starts a kexec; that takes a virtual machine.

mod common;

use common::journey::Journey;

const USAGE: i32 = 2;
const PERSON: i32 = 3;

#[test]
fn a_running_system_is_ended_only_by_an_image_that_was_named_and_is_one() {
    let Some(journey) = Journey::new() else { return };
    journey.target.runs("debian", "");
    let words = ["does not run a NixOS installer", "it runs debian", "--kexec URL|FILE"];
    journey.check_refuses(PERSON, &words, |_| ());
    journey.check_refuses(PERSON, &words[..2], |args| args.push("--no-kexec".into()));
    let with = |image: &str| {
        let image = image.to_owned();
        move |args: &mut Vec<String>| args.extend(["--kexec".into(), image.clone()])
    };
    let words = ["is not fetched without a hash", "--kexec-sha256"];
    journey.check_refuses(USAGE, &words, with("http://192.0.2.1/image.tar.gz"));
    let text = journey.home().join("passphrase");
    journey.check_refuses(USAGE, &["cannot be read", "--kexec"], with(text.to_str().unwrap()));
}
