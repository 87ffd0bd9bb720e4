// node-redis against the server on the port that is the first argument: its defaults, and both protocols.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createClient } from "redis";

async function drive(options) {
  const client = createClient({ socket: { port: Number(process.argv[2]) }, ...options });
  client.on("error", (error) => {
    throw error;
  });
  await client.connect();
  assert.equal(await client.ping(), "PONG");
  await client.del(["node", "node:n", "node:none"]);
  assert.equal(await client.set("node", "väl\r\nue"), "OK");
  assert.equal(await client.get("node"), "väl\r\nue");
  assert.equal(await client.get("node:none"), null);
  // What is called at once goes out as a pipeline.
  const replies = [client.incr("node:n"), client.incrBy("node:n", 41), client.decr("node:n")];
  assert.deepEqual(await Promise.all(replies), [1, 42, 41]);
  assert.match(await client.info(), /standing:serving/);
  assert.equal((await client.configGet("appendonly")).appendonly, "yes");
  await assert.rejects(client.sendCommand(["NONE"]), /unknown command/);
  await client.close();
}

// Counts until all swaps are over. What is not acknowledged once, in its turn, is noticed.
async function countThroughSwaps() {
  const client = createClient({ socket: { port: Number(process.argv[2]) } });
  client.on("error", (error) => {
    throw error;
  });
  await client.connect();
  let count = 0;
  while ((await client.get("swapped")) === null) {
    count += 1;
    assert.equal(await client.incr("count"), count);
  }
  await client.close();
  return count;
}

await drive({});
await drive({ RESP: 2 });
await drive({ RESP: 3, name: "named" });
const { version } = JSON.parse(readFileSync("node_modules/redis/package.json", "utf8"));
console.log("node-redis", version, "counted to", await countThroughSwaps(), "through swaps");
