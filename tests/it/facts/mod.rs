//! What configurations evaluate to: layouts of disks, in every shape.

mod layout_random;
mod layout_secrets;
mod layout_shapes;
