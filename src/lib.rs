//! landfall takes a blank machine to its owner's complete NixOS configuration,
//! secrets included, with one command.
//!
//! The way of the data: arguments and files become a `Config`, that a `Plan`;
//! the `engine` runs the plan's `Step`s against source and target, and writes
//! the `Journal` and `Event`s; the `ui` shows them. Nothing flows back.

pub mod age;
pub mod commands;
pub mod context;
pub mod error;
pub mod event;
pub mod exec;
pub mod git;
pub mod journal;
pub mod known_hosts;
pub mod nix;
pub mod plan;
pub mod prompt;
pub mod secret;
pub mod sops;
pub mod ssh;
pub mod state;
pub mod step;
pub mod ui;
