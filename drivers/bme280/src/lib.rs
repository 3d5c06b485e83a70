//! Bosch BME280 humidity, pressure and temperature sensor on I2C.
#![no_std]
