//! What is shown and asked.

mod plan;
mod terminal;
mod views;
