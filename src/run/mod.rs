//! One run of the journey as data: its steps and what became of them, its folder, its
//! journal and log, the events that it shows, and the plan that it would follow.
//!
//! Nothing here acts on a machine. A secret never gets into the journal, an event or a
//! plan; `run_dir` alone knows where a run keeps its files.

pub(crate) mod crash_points;
pub mod event;
pub(crate) mod facts;
pub mod journal;
pub(crate) mod lock;
pub(crate) mod log;
pub mod plan;
pub(crate) mod plan_from_journal;
pub mod run_dir;
pub mod step;
