//! The main journey, and what interrupts it.

use crate::journey::scenario::{Act, Scenario, Share};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario { share: Share::Core, ..Scenario::staged() },
        Scenario {
            name: "killed-in-copy",
            shows: "killed in the middle of the copy, then run again",
            share: Share::Core,
            acts: vec![Act::KilledDuring("copy".to_string()), Act::Bootstrap],
            ..Scenario::staged()
        },
    ]
}
