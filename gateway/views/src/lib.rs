//! Views over the journal that can be thrown away, kept in sled.
