//! The main journey, and what interrupts it.

use crate::journey::scenario::{Act, SERIAL, Scenario, Share, disk};
use crate::vm::Bus;

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
        Scenario {
            name: "impermanence",
            shows: "AHCI disk, root empty at every boot",
            layout: "btrfs-luks-impermanence".to_string(),
            disks: vec![disk(SERIAL, "8G", Bus::Ahci)],
            ..Scenario::staged()
        },
    ]
}
