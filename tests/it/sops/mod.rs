//! Rules and encrypted files, with the real sops.

mod canary;
mod change;
mod corpus;
mod crash;
mod edit;
mod evaluated;
mod files;
mod inputs;
mod layouts;
mod random;
mod shapes;
