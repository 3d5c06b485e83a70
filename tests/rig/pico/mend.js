// What rp2040js 1.4.1 does otherwise than an RP2040, put right from outside. Each mend names what was seen without it.

"use strict";

const DR = 0x00;
const IFLS = 0x34;
const DMACR = 0x48;
const TX_FULL = 1 << 5;
const TX_EMPTY = 1 << 7;
const TX_INTERRUPT = 1 << 5;
const FIFO_BYTES = 32;
const FIFO_HALF = FIFO_BYTES / 2;
/// Ten bits at 115,200 baud.
const BYTE_NS = 86_806;

// The UART sends in no time, its transmit interrupt never falls, and UARTDMACR reads all ones (BufferedUart then believes that
// DMA receives, and hangs). Here bytes leave a FIFO one by one, each at its time, and come in likewise.
function uart(uart, clock, sent) {
  const kept = { [IFLS]: 0b010010, [DMACR]: 0 };
  const toSend = [];
  const received = [];
  const read = uart.readUint32.bind(uart);
  const write = uart.writeUint32.bind(uart);

  uart.checkInterrupts = () => {
    uart.rp2040.setInterrupt(uart.irq, (uart.interruptStatus & uart.interruptMask) !== 0);
  };
  const sending = clock.createAlarm(() => {
    sent(toSend.shift());
    if (toSend.length > 0) sending.schedule(BYTE_NS);
    if (toSend.length === FIFO_HALF || toSend.length === 0) {
      uart.interruptStatus |= TX_INTERRUPT;
      uart.checkInterrupts();
    }
  });
  const receiving = clock.createAlarm(() => {
    uart.feedByte(received.shift());
    if (received.length > 0) receiving.schedule(BYTE_NS);
  });
  uart.readUint32 = (offset) => {
    if (offset in kept) return kept[offset];
    if (offset === 0x18) {
      const full = toSend.length >= FIFO_BYTES ? TX_FULL : 0;
      return (uart.flags & ~TX_EMPTY) | full | (toSend.length === 0 ? TX_EMPTY : 0);
    }
    return read(offset);
  };
  uart.writeUint32 = (offset, value) => {
    if (offset in kept) kept[offset] = value;
    else if (offset === DR) {
      if (toSend.length < FIFO_BYTES) toSend.push(value & 0xff);
      if (toSend.length === 1) sending.schedule(BYTE_NS);
    } else write(offset, value);
  };
  return (bytes) => {
    if (bytes.length > 0 && received.length === 0) receiving.schedule(BYTE_NS);
    received.push(...bytes);
  };
}

// Writes to IC_INTR_MASK are dropped: no interrupt ever comes. A reset by RESETS leaves it as it is: a transfer that the firmware has given
// up would go on. Whoever sits on the bus is told of it by `onReset`.
function i2c(i2c, machine) {
  const INTERRUPT_MASK = 0x30;
  const [RESETS, RESET, I2C0] = [0x4000c, 0x00, 1 << 3];
  const write = i2c.writeUint32.bind(i2c);
  i2c.writeUint32 = (offset, value) => {
    if (offset !== INTERRUPT_MASK) return write(offset, value);
    i2c.intEnable = value & 0x1fff;
    i2c.checkInterrupts();
  };
  const resets = machine.peripherals[RESETS];
  const set = resets.writeUint32.bind(resets);
  resets.writeUint32 = (offset, value) => {
    set(offset, value);
    if (offset !== RESET || !(value & I2C0)) return;
    Object.assign(i2c, { state: 0, enable: 0, abortSource: 0, intRaw: 0, intEnable: 0 });
    Object.assign(i2c, { busy: false, stop: false, pendingRestart: false });
    i2c.txFIFO.reset();
    i2c.rxFIFO.reset();
    i2c.checkInterrupts();
    i2c.onReset();
  };
}

// XIP_CTRL (0x14000000) is missing: its stream counter, which embassy-rp waits for, reads all ones.
function xip(machine) {
  machine.peripherals[0x14000] = { readUint32: () => 0, writeUint32Atomic: () => {} };
}

// The flash chip has no serial number (command 0x4b: 4 dummy bytes, 8 bytes).
function serialNumber(machine, number) {
  const ssi = machine.peripherals[0x18000];
  const [SSIENR, DATA, COMMAND] = [0x08, 0x60, 0x4b];
  const read = ssi.readUint32.bind(ssi);
  const write = ssi.writeUint32.bind(ssi);
  let answer = [];
  ssi.readUint32 = (offset) => (offset === DATA && answer.length > 0 ? answer.shift() : read(offset));
  ssi.writeUint32 = (offset, value) => {
    if (offset === SSIENR) answer = [];
    if (offset === DATA && (value & 0xff) === COMMAND) answer = [0, 0, 0, 0, ...number];
    write(offset, value);
  };
}

// The ring oscillator's random bit is always one.
function randomBit(machine) {
  const RANDOM_BIT = 0x1c;
  const oscillator = machine.peripherals[0x40060];
  const read = oscillator.readUint32.bind(oscillator);
  oscillator.readUint32 = (offset) => (offset === RANDOM_BIT ? Number(Math.random() < 0.5) : read(offset));
}

module.exports = { i2c, randomBit, serialNumber, uart, xip };
