//! Commands at work on a host: in a run of their own, or on a visit to what a run left.

pub mod askpass;
pub mod open_run;
mod run;
pub mod visit;
