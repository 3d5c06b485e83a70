// A boot ROM (RP2040 data sheet, 2.8.3 "Bootrom Contents"): the table of functions that embassy-rp looks up to erase and write
// the flash. Each is a breakpoint, at which the host does the work, and a return.

"use strict";

const { BASE } = require("./flash.js");

const FUNCTION_TABLE = 0x14;
const DATA_TABLE = 0x16;
const LOOKUP = 0x18;
const CODE_FROM = 0x200;
const NO_TABLE = 0x1f0;
const BREAKPOINT = 0xbe00;
const RETURN = 0x4770;
const RAM = 0x20000000;

// `kept` is the chip that outlives the machine; `machine.flash` is what the microcontroller sees.
function install(machine, kept) {
  const code = (index) => (CODE_FROM + 4 * index) | 1;
  const register = (n) => machine.core.registers[n] >>> 0;
  const see = (offset, count) => machine.flash.set(kept.content.subarray(offset, offset + count), offset);
  const nothing = () => {};
  const functions = {
    // (table, tag) -> function
    lookup: () => {
      const name = String.fromCharCode(register(1) & 0xff, register(1) >> 8);
      const index = Object.keys(functions).indexOf(name);
      if (index < 0) throw new Error(`the boot ROM has no function ${name}`);
      machine.core.registers[0] = code(index);
    },
    // memcpy44(to, from, count) -> to
    C4: () => {
      const [to, from, count] = [0, 1, 2].map(register);
      for (let at = 0; at < count; at += 4) machine.writeUint32(to + at, machine.readUint32(from + at));
    },
    IF: nothing,
    EX: nothing,
    FC: nothing,
    CX: nothing,
    // flash_range_erase(offset, count, ..)
    RE: () => {
      kept.erase(register(0), register(1));
      see(register(0), register(1));
    },
    // flash_range_program(offset, bytes, count)
    RP: () => {
      const [offset, from, count] = [0, 1, 2].map(register);
      kept.program(offset, machine.sram.subarray(from - RAM, from - RAM + count));
      see(offset, count);
    },
  };
  const rom = new DataView(machine.bootrom.buffer);
  rom.setUint16(FUNCTION_TABLE, NO_TABLE, true);
  rom.setUint16(DATA_TABLE, NO_TABLE, true);
  rom.setUint16(LOOKUP, code(0), true);
  Object.keys(functions).forEach((_, index) => {
    rom.setUint16(CODE_FROM + 4 * index, BREAKPOINT | index, true);
    rom.setUint16(CODE_FROM + 4 * index + 2, RETURN, true);
  });
  const bodies = Object.values(functions);
  machine.onBreak = (index) => {
    if (bodies[index] === undefined) throw new Error(`breakpoint ${index} at 0x${machine.core.PC.toString(16)}`);
    bodies[index]();
  };
  machine.flash.set(kept.content, 0);
}

module.exports = { install, BASE };
