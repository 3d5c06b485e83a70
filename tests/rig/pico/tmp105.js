// A TMP105 at 0x48 (SLLS648D): pointer register, configuration, temperature in steps of 1/16 degree. Bytes take their time
// on the bus. Written without a look at this project's driver.

"use strict";

const ADDRESS = 0x48;
const BYTE_NS = 90_000;
const TEMPERATURE = 0;
const CONFIGURATION = 1;

class Tmp105 {
  // `onRead(celsius)` is told of each reading that was fetched.
  constructor(onRead) {
    this.onRead = onRead;
    this.present = true;
    this.stuck = false;
    this.zeros = 0;
    this.held = [];
    this.sixteenths = 0;
    this.step = 0;
    this.reset();
  }

  // After power-up: 9 bits, pointer at the temperature.
  reset() {
    this.pointer = TEMPERATURE;
    this.configuration = 0;
    this.written = 0;
    this.at = 0;
    this.held = [];
    this.zeros = 0;
  }

  // Holds the clock: what the chip was about to answer waits until it lets go.
  hold(stuck) {
    this.stuck = stuck;
    if (!stuck) this.held.splice(0).forEach((action) => action());
  }

  // As if the microcontroller had been reset while it was read: this many bits, all of them 0, are still to be clocked out.
  holdData(zeros) {
    this.zeros = zeros;
    this.settle();
  }

  // `step` is added after each reading.
  set(celsius, step) {
    this.sixteenths = Math.round(celsius * 16);
    this.step = Math.round(step * 16);
  }

  // `sda`, `scl`: the pins, for whoever moves them without the controller.
  attach(i2c, clock, sda, scl) {
    const LOW = 0;
    this.settle = () => {
      sda.setInputValue(sda.value !== LOW && this.zeros === 0);
      scl.setInputValue(scl.value !== LOW);
    };
    sda.addListener(this.settle);
    scl.addListener((state) => {
      if (state === LOW && this.zeros > 0) this.zeros -= 1;
      this.settle();
    });
    this.settle();
    const unlessHeld = (action) => () => (this.stuck ? this.held.push(action) : action());
    const later = (action) => clock.createAlarm(unlessHeld(action)).schedule(BYTE_NS);
    i2c.onReset = () => (this.held = []);
    // On a bus that is not free, a controller waits.
    i2c.onStart = () => this.zeros === 0 && i2c.completeStart();
    i2c.onConnect = (address) => {
      this.written = 0;
      this.at = 0;
      later(() => i2c.completeConnect(this.present && address === ADDRESS));
    };
    i2c.onWriteByte = (byte) => {
      this.write(byte);
      later(() => i2c.completeWrite(true));
    };
    i2c.onReadByte = () => {
      const byte = this.read();
      later(() => i2c.completeRead(byte));
    };
    i2c.onStop = () => i2c.completeStop();
  }

  write(byte) {
    if (this.written === 0) this.pointer = byte & 0b11;
    else if (this.written === 1 && this.pointer === CONFIGURATION) this.configuration = byte & 0x7f;
    this.written += 1;
  }

  read() {
    const at = this.at++;
    if (this.pointer === CONFIGURATION) return this.configuration;
    if (this.pointer !== TEMPERATURE) return 0xff;
    if (at === 0) this.latched = this.sixteenths & (-1 << (3 - ((this.configuration >> 5) & 0b11)));
    const register = (this.latched << 4) & 0xffff;
    if (at === 0) return register >> 8;
    if (at === 1) {
      this.onRead(this.latched / 16);
      this.sixteenths += this.step;
    }
    return register & 0xff;
  }
}

module.exports = { Tmp105 };
