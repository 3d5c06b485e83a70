//! I2C sources: drivers polled over linux-embedded-hal.
