//! What a step works with.

use crate::event::Events;

/// Everything that a step may look at and use.
#[derive(Debug)]
pub struct Context {
    pub events: Events,
}
