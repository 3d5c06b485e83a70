//! The crash-safe partitioned log, over a Disk trait.
