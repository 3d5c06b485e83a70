// A sender on MQTT.js. MQTT.js itself resends after a reconnect what was not acknowledged.
//
//     NODE_PATH=target/rig/node/node_modules node tests/rig/senders/mqttjs_sender.js PLAN
//
// The plan, the ledger and the gauges are those of senders/__init__.py and gauges.py; one ledger line, fsynced, for each
// acknowledged publish. `window` publishes are in flight on a connection.

"use strict";

const fs = require("fs");
const mqtt = require("mqtt");

const plan = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const ledger = fs.openSync(plan.ledger, "a");
const gaugesFile = fs.openSync(plan.gauges, "r+");
const GAUGES = ["sent", "acknowledged", "unacknowledged", "cuts_in_flight", "cut_publishes", "connected", "finished"];
const gauges = Object.fromEntries(GAUGES.map((name) => [name, 0]));
let ending = false;
process.on("SIGTERM", () => {
  ending = true;
});

function add(name, amount) {
  gauges[name] += amount;
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(BigInt(gauges[name]));
  fs.writeSync(gaugesFile, bytes, 0, 8, 8 * GAUGES.indexOf(name));
}

function acknowledged(connection, id) {
  fs.writeSync(ledger, JSON.stringify({ topic: connection.topic, key: connection.key, id }) + "\n");
  fs.fsyncSync(ledger);
  add("acknowledged", 1);
  add("unacknowledged", -1);
}

function publish(client, connection, number) {
  const id = `${connection.client}-${number}`;
  const payload = JSON.stringify({ id, n: number, value: (number % 997) / 10 }).padEnd(plan.payload_bytes);
  const properties = { userProperties: { id }, contentType: "application/json" };
  const options = plan.protocol === 5 ? { qos: 1, properties } : { qos: 1 };
  add("sent", 1);
  add("unacknowledged", 1);
  return new Promise((resolve, reject) => {
    client.publish(connection.address, payload, options, (error) => {
      if (error) return reject(new Error(`event ${id} was refused: ${error.message}`));
      acknowledged(connection, id);
      resolve();
    });
  });
}

async function run(connection) {
  const client = mqtt.connect({
    host: plan.host,
    port: plan.port,
    protocolVersion: plan.protocol,
    clientId: connection.client,
    reconnectPeriod: 100,
  });
  let connected = 0;
  const setConnected = (now) => {
    add("connected", now - connected);
    connected = now;
  };
  client.on("connect", () => setConnected(1));
  // Also after an attempt to connect that failed.
  client.on("close", () => setConnected(0));
  await new Promise((resolve) => client.once("connect", resolve));
  const inFlight = new Set();
  for (let number = 1; !ending && (connection.events === 0 || number <= connection.events); number++) {
    const sent = publish(client, connection, number).finally(() => inFlight.delete(sent));
    inFlight.add(sent);
    if (inFlight.size >= plan.window) await Promise.race(inFlight);
    if (plan.rate > 0) await new Promise((resolve) => setTimeout(resolve, 1000 / plan.rate));
  }
  await Promise.all(inFlight);
  await client.endAsync();
}

Promise.all(plan.connections.map(run)).then(
  () => {
    add("finished", 1);
    process.exit(0);
  },
  (error) => {
    console.error(error.message);
    process.exit(1);
  },
);
