// An emulated Raspberry Pi Pico: npm's rp2040js, mended from outside (mend.js), with a boot ROM (rom.js), a flash chip that
// keeps its content in a file, and a TMP105 on I2C0 (tmp105.js).
//
//     NODE_PATH=target/rig/pico/node_modules node tests/rig/pico/pico.js ELF FLASH_FILE CONTROL_PORT SPEED_MAX LINE <>TERMINAL
//
// ELF is flashed at each start; the rest of the flash is what FLASH_FILE holds. What the microcontroller writes is in the file
// at once: whoever kills this process has cut the power. LINE is `uart` (UART0) or `usb`; its other end is standard input, a terminal that is read and written without
// waiting (a pseudo-terminal's master). Time runs at most SPEED_MAX times as fast as outside.
//
// Standard output: what happens, one JSON line each, with `at_ms` of the microcontroller's time.
// Control: a TCP port that takes lines of JSON, `{"celsius": 21.5, "step": 0.0625}` (step: what each read adds; 0 if left out)
// or `{"present": false}` (nobody answers at its address) or `{"stuck": true}` (it holds the clock) or `{"zeros": 8}` (it holds the data
// line until it has been clocked so often), and answers each with
// `{"at_ms": .., "untouched": ..}` (bytes of RAM that lie between the stack and the rest) or `{"error": ..}`.

"use strict";

const fs = require("fs");
const net = require("net");
const { Flash } = require("./flash.js");
const { Machine } = require("./machine.js");
const { Tmp105 } = require("./tmp105.js");

const TERMINAL = 0;
const SLICE_MS = 5;

const [elf, flashFile, controlPort, speed, line] = process.argv.slice(2);
const flash = new Flash(flashFile, elf);
const thermometer = new Tmp105((celsius) => tell({ read: celsius }));
let machine = null;
let waiting = [];

function tell(event) {
  console.log(JSON.stringify({ at_ms: Math.round((machine?.clock.nanos ?? 0) / 1e6), ...event }));
}

function start(why) {
  thermometer.reset();
  waiting = [];
  machine = new Machine(flash, thermometer, line, {
    sent: (byte) => waiting.push(byte),
    light: (on) => tell({ light: on }),
    watchdog: () => tell({ watchdog: true }),
  });
  tell({ start: why });
}

// What a serial line does to bytes that nobody takes: it loses them. EAGAIN: nothing there, or no room; EIO: nobody has the
// other end open.
function unlessAbsent(action, otherwise) {
  try {
    return action();
  } catch (error) {
    if (error.code === "EAGAIN" || error.code === "EIO") return otherwise;
    throw error;
  }
}

function exchange() {
  const incoming = Buffer.alloc(256);
  const count = unlessAbsent(() => fs.readSync(TERMINAL, incoming, 0, incoming.length, null), 0);
  machine.receive(incoming.subarray(0, count));
  if (waiting.length > 0) {
    unlessAbsent(() => fs.writeSync(TERMINAL, Buffer.from(waiting)), 0);
    waiting = [];
  }
}

// Runs until the microcontroller's time has caught up with the time outside, at most for a slice.
let due = 0;
let before = performance.now();
function run() {
  const now = performance.now();
  // What a busy machine could not do in time is not made up for.
  due = Math.min(due + (now - before) * speed, machine.clock.nanos / 1e6 + SLICE_MS * speed);
  before = now;
  machine.runUntil(due * 1e6, now + SLICE_MS);
  exchange();
  if (machine.bitten) {
    start("watchdog");
    due = 0;
  }
  setTimeout(run, 1);
}

function obey(order) {
  if (order.present !== undefined) thermometer.present = order.present;
  if (order.stuck !== undefined) thermometer.hold(order.stuck);
  if (order.zeros !== undefined) thermometer.holdData(order.zeros);
  if (order.celsius !== undefined) thermometer.set(order.celsius, order.step ?? 0);
  return { at_ms: Math.round(machine.clock.nanos / 1e6), untouched: machine.untouched() };
}

function answer(line) {
  try {
    return obey(JSON.parse(line));
  } catch (error) {
    return { error: error.message };
  }
}

const control = net.createServer((socket) => {
  let text = "";
  socket.on("data", (data) => {
    const lines = (text + data).split("\n");
    text = lines.pop();
    for (const line of lines) socket.write(`${JSON.stringify(answer(line))}\n`);
  });
  socket.on("error", () => socket.destroy());
});
control.listen(Number(controlPort), "127.0.0.1", () => {
  start("power");
  run();
});
