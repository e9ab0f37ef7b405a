//! Rules and encrypted files, with the real sops.

mod canary;
mod change;
mod corpus;
mod crash;
mod edit;
mod evaluated;
mod files;
mod grants;
mod inputs;
mod layouts;
mod links;
mod random;
mod repos;
mod shapes;
