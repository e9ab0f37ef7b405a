//! landfall takes a blank machine to its owner's complete NixOS configuration,
//! secrets included, with one command.
//!
//! The way of the data: arguments and files become a `Config`, that a `Plan`;
//! the `engine` runs the plan's `Step`s against source and target, and writes
//! the `Journal` and `Event`s; the `ui` shows them. Nothing flows back.

pub mod cli;
pub mod config;
pub mod error;
pub mod exec;
pub mod facts;
pub mod git;
pub mod image;
pub mod init;
pub mod journey;
pub mod nix;
pub mod run;
pub mod secret;
pub mod sops;
pub mod ssh;
pub mod steps;
pub mod target;
pub mod ui;

pub use ssh::started_by_ssh as answer_ssh;
