//! TI TMP105 and LM75-class temperature sensors on I2C.
#![no_std]
