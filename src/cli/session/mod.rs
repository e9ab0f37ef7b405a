//! TODO.

pub mod askpass;
pub mod open_run;
pub mod visit;
