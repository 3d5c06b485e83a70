//! Serial sources: the link to nodes over tokio-serial.
