//! The brain of a node.
#![no_std]
