//! The same installation by landfall and by nixos-anywhere, to be timed: the minimal system
//! of the host, LUKS, hardware configuration included, until the installed system lets its
//! user in. These are no tests, so they are in no list of journeys.

use std::path::Path;

use crate::journey::actions;
use crate::journey::scenario::{Action, Scenario};

/// Describes the installation by landfall.
pub(crate) fn by_landfall() -> Scenario {
    Scenario {
        name: "landfall install",
        actions: vec![Action::Do(actions::install), Action::Do(actions::wait_for_login)],
        ..Scenario::staged()
    }
}

/// Describes the installation by nixos-anywhere, which is this program.
pub(crate) fn by_nixos_anywhere(program: &Path) -> Scenario {
    let install = Action::NixosAnywhere(program.to_path_buf());
    Scenario {
        name: "nixos-anywhere",
        actions: vec![install, Action::Do(actions::wait_for_login)],
        ..Scenario::staged()
    }
}
