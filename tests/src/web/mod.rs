//! Web servers inside a lab: nginx with the configuration that the documentation gives, and one that is hostile.

mod hostile;
mod nginx;

pub use hostile::{Hostile, Malice};
pub use nginx::Nginx;
