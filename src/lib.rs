//! landfall takes a blank machine to its owner's complete NixOS configuration, secrets
//! included, with one command:
//!
//! ```text
//! landfall bootstrap guppy root@192.168.1.20
//! ```
//!
//! # The journey
//!
//! [`cli`] parses the words. `cli::args::into_config` makes a [`config::Config`] of them: what
//! the user wants, nothing evaluated, nobody asked. `cli::session` opens the run: its folder and
//! journal ([`run`]), its interface ([`ui`]), and the context that steps work with. Then the
//! engine of the journey takes the sixteen steps in their order:
//!
//! 1. *check* tries what could fail later; *identity* makes the host's keys; *secrets* encrypts
//!    for them, proves that they open what they must, and pushes; *lock* moves the secrets' input.
//! 2. *installer* makes way for a NixOS installer by kexec where none runs; *hardware* commits
//!    what the machine reports; *build* builds everything, so that nothing fails after this:
//! 3. *disks* is the only step that destroys; *copy* and *install* fill the new disks.
//! 4. *reboot* waits for exactly the host key of *identity*; *login*, *repos* and *rebuild* bring
//!    the full configuration up and verify it.
//! 5. *publish* pushes, and compares with a clean clone; *retire* takes an older key away.
//!
//! A step looks (`observe`) before it changes anything and after: what is done is seen on the
//! machines, not remembered. So the same loop begins, resumes and finishes a journey, and `plan`
//! is the first half of it. What a step meant to do is in the journal before it does it.
//!
//! # The rooms
//!
//! A room imports only rooms above it in this list: [`error`], [`secret`] (values that cannot be
//! printed), [`exec`] (processes), [`run`], [`git`], [`ui`], [`nix`], [`ssh`], [`sops`],
//! [`config`], [`facts`] (what the configuration evaluates to), [`target`] (the machine),
//! [`image`], [`init`], [`steps`], [`journey`], [`cli`]. Public is what the program itself, its
//! tests and its fuzz targets use; this is no library for others.
//!
//! # A step of one's own
//!
//! Ask first what on the machine shows that it is done. This one is compiled with the tests;
//! `CONTRIBUTING.md` says where the rest of a new step goes.
#![doc = concat!("```ignore\n", include_str!("steps/example.rs"), "```")]

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
