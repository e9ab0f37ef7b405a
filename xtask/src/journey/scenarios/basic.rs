//! The main journey, and what interrupts it.

use crate::journey::scenario::{Action, Scenario, Schedule};

/// Lists the journeys of this subject.
pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario { schedule: Schedule::Core, ..Scenario::staged() },
        Scenario {
            name: "killed-in-copy",
            shows: "killed in the middle of the copy, then run again",
            schedule: Schedule::Core,
            actions: vec![Action::BootstrapKilledDuring("copy".to_string()), Action::Bootstrap],
            ..Scenario::staged()
        },
    ]
}
