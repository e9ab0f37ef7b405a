//! Tests that run real programs: sshd on loopback, git, nix, sops, landfall itself.
//!
//! One program, with a room for each room of `src` that is tested from outside. A test
//! may share its process with the others: what it changes is its own folder, or that of a
//! process which it starts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::use_debug,
    clippy::disallowed_methods,
    unreachable_pub,
    missing_debug_implementations,
    reason = "a test fails by a panic and tells the person who reads it; it starts what it likes"
)]

mod attacks;
mod cli;
mod common;
mod facts;
mod git;
mod house;
mod image;
mod init;
mod journey;
mod nix;
mod sops;
mod ssh;
mod steps;
mod target;
mod ui;
