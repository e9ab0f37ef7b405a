//! Attacks: what somebody hostile, or bad luck, may do, on real programs.

mod addresses;
mod git;
mod journal;
mod keys;
mod output;
mod terminal;
mod text;
