//! No `.sops.yaml` makes the parser or an edit panic, and what an edit added can
//! be taken out again without a trace.
#![no_main]

use landfall::sops::edit::{self, Addition};
use landfall::sops::host::Who;
use libfuzzer_sys::fuzz_target;

const KEY: &str = "age17044m9wgakla6pzftf4srtl3h5mcsr85jysgt5fg23zpnta8sfdqhzn452";

fuzz_target!(|text: &str| {
    let addition = Addition {
        host: "fuzzed".into(),
        recipient: KEY.into(),
        rules: vec![0],
        ..Addition::default()
    };
    let Ok(added) = edit::add(text, &addition) else { return };
    if text.contains("fuzzed") || text.contains(KEY) {
        return;
    }
    let who = Who { name: "fuzzed", recipient: Some(KEY), ..Who::default() };
    if let Ok(removed) = edit::remove(&added.text, &who, &[]) {
        assert_eq!(removed.text, text);
    }
});
