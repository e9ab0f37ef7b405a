//! What a command that works on a host opens, and ends by: a run with its folder, journal
//! and interface (`open_run`), or a visit to a host that is installed (`visit`).

pub mod askpass;
pub mod left_over;
pub mod open_run;
pub mod visit;
