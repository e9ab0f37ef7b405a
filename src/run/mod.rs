//! A run: its steps by name, its plan, its events, and what it remembers on disk.

pub mod crash_points;
pub mod event;
pub mod facts;
pub mod journal;
pub mod log;
pub mod plan;
pub mod plan_from_journal;
pub mod run_dir;
pub mod step;
