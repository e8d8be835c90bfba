//! Plays on links and routes.
