// One life of the microcontroller, from reset to reset.

"use strict";

const { RP2040, ConsoleLogger, LogLevel, USBCDC } = require("rp2040js");
const { BASE } = require("./flash.js");
const mend = require("./mend.js");
const rom = require("./rom.js");

const VECTORS = BASE + 0x100;
const CYCLE_NS = 8;
const LIGHT = 25;
const [SDA, SCL] = [4, 5];
const SERIAL_NUMBER = [0xe6, 0x60, 0x58, 0x38, 0x83, 0x12, 0x34, 0x56];
const UNTOUCHED = 0xa5;
const LOOK_AT_THE_CLOCK_EVERY = 2_000;

class Machine {
  // `line`: `uart` or `usb`, whatever the firmware speaks on. `told`: functions for a byte that was `sent`, for the `light`,
  // for the `watchdog`.
  constructor(flash, thermometer, line, told) {
    const chip = new RP2040();
    this.chip = chip;
    this.clock = chip.clock;
    this.bitten = false;
    // As unknown as RAM is after power-up, and a mark of what was never touched.
    chip.sram.fill(UNTOUCHED);
    chip.logger = new ConsoleLogger(LogLevel.Error);
    rom.install(chip, flash);
    mend.xip(chip);
    mend.serialNumber(chip, SERIAL_NUMBER);
    mend.randomBit(chip);
    mend.i2c(chip.i2c[0], chip);
    this.receive = line === "usb" ? host(chip, told.sent) : mend.uart(chip.uart[0], chip.clock, told.sent);
    thermometer.attach(chip.i2c[0], chip.clock, chip.gpio[SDA], chip.gpio[SCL]);
    chip.gpio[LIGHT].addListener((state) => told.light(state === 1));
    // It fires for ever: this machine is not used any more.
    chip.peripherals[0x40058].onWatchdogTrigger = () => {
      if (!this.bitten) told.watchdog();
      this.bitten = true;
    };
    // As the boot ROM and boot2 leave it.
    chip.core.VTOR = VECTORS;
    chip.core.reset();
  }

  // The longest stretch of RAM that was never touched, in bytes: what lies between the stack's end and what is below it.
  untouched() {
    let longest = 0;
    let stretch = 0;
    for (const byte of this.chip.sram) {
      stretch = byte === UNTOUCHED ? stretch + 1 : 0;
      if (stretch > longest) longest = stretch;
    }
    return longest;
  }

  // Runs to that time, or until `performance.now()` has come to `untilMs`.
  runUntil(nanos, untilMs) {
    const { chip, clock } = this;
    for (let steps = 1; clock.nanos < nanos && !this.bitten; steps++) {
      if (chip.core.waiting) clock.tick(Math.min(clock.nanosToNextAlarm || Infinity, nanos - clock.nanos));
      else clock.tick(chip.core.executeInstruction() * CYCLE_NS);
      if (steps % LOOK_AT_THE_CLOCK_EVERY === 0 && performance.now() > untilMs) return;
    }
  }
}

// A host on USB, which opens the serial port as soon as it is there.
function host(chip, sent) {
  const serial = new USBCDC(chip.usbCtrl);
  let connected = false;
  serial.onDeviceConnected = () => (connected = true);
  serial.onSerialData = (bytes) => bytes.forEach(sent);
  return (bytes) => connected && bytes.forEach((byte) => serial.sendSerialByte(byte));
}

module.exports = { Machine };
