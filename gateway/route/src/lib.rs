//! Decode and route: from an arrival to an event with a journal topic and key. Pure functions.
