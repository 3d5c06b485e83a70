//! Physical quantities with their unit in the type.
#![no_std]
