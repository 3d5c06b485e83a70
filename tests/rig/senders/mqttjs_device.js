// A device on MQTT.js, v5, whose session outlives its connections; or one publish and no more. It writes what happens to it as lines of JSON.
//
//     NODE_PATH=target/rig/node/node_modules node tests/rig/senders/mqttjs_device.js listen PORT CLIENT_ID FILTER
//     NODE_PATH=...                          node tests/rig/senders/mqttjs_device.js publish PORT CLIENT_ID TOPIC PAYLOAD
//
// A listener subscribes only where the gateway knows no session of it. A publish carries the user properties `kind` (twice) and `unit`, and is
// told once it is acknowledged.

"use strict";

const mqtt = require("mqtt");

const [what, port, clientId, topic, payload] = process.argv.slice(2);
const DAY_S = 86400;

function tell(line) {
  console.log(JSON.stringify(line));
}

function fail(error) {
  console.error(error.message);
  process.exit(1);
}

async function listen(client, connack) {
  const granted = connack.sessionPresent ? [] : await client.subscribeAsync(topic, { qos: 1 });
  tell({ present: connack.sessionPresent, granted: granted.map((it) => it.qos) });
}

async function publish(client) {
  const userProperties = { kind: ["order", "urgent"], unit: "bar" };
  await client.publishAsync(topic, payload, { qos: 1, properties: { userProperties, contentType: "text/plain" } });
  tell({ published: topic });
  await client.endAsync();
}

const client = mqtt.connect({
  host: "127.0.0.1",
  port: Number(port),
  protocolVersion: 5,
  clientId,
  clean: what === "publish",
  properties: what === "publish" ? {} : { sessionExpiryInterval: DAY_S },
  reconnectPeriod: 0,
});
client.on("error", fail);
client.on("message", (from, bytes, packet) => {
  const { userProperties, contentType } = packet.properties ?? {};
  // Its null prototype is MQTT.js's own affair.
  tell({ topic: from, payload: bytes.toString(), qos: packet.qos, user: { ...userProperties }, contentType });
});
client.on("connect", (connack) => (what === "publish" ? publish(client) : listen(client, connack)).catch(fail));
