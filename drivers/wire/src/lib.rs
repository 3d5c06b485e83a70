//! The link between node and gateway: frames, messages and session, a state machine without I/O.
#![no_std]
