//! What a command that works on a host opens, and ends by: a run with its folder, journal
//! and interface (`open_run`), or a visit to a host that is installed (`visit`). Before any
//! of them, what was left of keys is swept away (`sweep`).

pub(crate) mod askpass;
pub(crate) mod left_over;
pub(crate) mod open_run;
mod run;
pub(crate) mod sweep;
pub(crate) mod visit;
