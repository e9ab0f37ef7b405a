//! Whole runs, up to the last step before the disks.

mod again;
mod canaries;
mod forms;
mod git;
mod grants;
mod home;
mod identity;
mod interrupt;
mod layouts;
mod questions;
mod reinstall;
mod resume;
mod source;
