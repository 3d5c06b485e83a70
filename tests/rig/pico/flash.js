// The flash chip of 2 MiB, and the file that holds its content.

"use strict";

const fs = require("fs");

const BYTES = 2 * 1024 * 1024;
const BASE = 0x10000000;
const PT_LOAD = 1;

class Flash {
  // `file` is made where there is none, erased; then `elf` is put into it.
  constructor(file, elf) {
    const isNew = !fs.existsSync(file);
    this.descriptor = fs.openSync(file, isNew ? "w+" : "r+");
    if (isNew) fs.writeSync(this.descriptor, Buffer.alloc(BYTES, 0xff), 0, BYTES, 0);
    this.content = Buffer.alloc(BYTES);
    fs.readSync(this.descriptor, this.content, 0, BYTES, 0);
    for (const { address, bytes } of segments(fs.readFileSync(elf))) {
      this.content.set(bytes, address - BASE);
      this.keep(address - BASE, bytes.length);
    }
  }

  keep(offset, count) {
    fs.writeSync(this.descriptor, this.content, offset, count, offset);
  }

  erase(offset, count) {
    this.check(offset, count, 4096);
    this.content.fill(0xff, offset, offset + count);
    this.keep(offset, count);
  }

  // Programming clears bits and sets none.
  program(offset, bytes) {
    this.check(offset, bytes.length, 256);
    for (let at = 0; at < bytes.length; at++) this.content[offset + at] &= bytes[at];
    this.keep(offset, bytes.length);
  }

  check(offset, count, unit) {
    if (offset % unit || count % unit || offset + count > BYTES) {
      throw new Error(`flash: ${count} bytes at 0x${offset.toString(16)}, in units of ${unit}`);
    }
  }
}

// What of an ELF file (32 bits, little-endian) is loaded, by physical address.
function segments(elf) {
  if (elf.readUInt32BE(0) !== 0x7f454c46) throw new Error("not an ELF file");
  const [table, size, count] = [elf.readUInt32LE(28), elf.readUInt16LE(42), elf.readUInt16LE(44)];
  const found = [];
  for (let at = table; at < table + size * count; at += size) {
    const [offset, address, length] = [elf.readUInt32LE(at + 4), elf.readUInt32LE(at + 12), elf.readUInt32LE(at + 16)];
    if (elf.readUInt32LE(at) === PT_LOAD && length > 0) {
      found.push({ address, bytes: elf.subarray(offset, offset + length) });
    }
  }
  return found;
}

module.exports = { Flash, BASE };
