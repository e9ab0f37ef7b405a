//! Commands as a person and a script use them.

mod abandon;
mod contract;
mod flags;
mod install;
mod secrets;
mod ssh;
mod status;
mod sync;
