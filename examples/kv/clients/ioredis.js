// ioredis against the server on the port that is the first argument: its defaults.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Redis } from "ioredis";

async function drive(options) {
  const client = new Redis({ port: Number(process.argv[2]), ...options });
  client.on("error", (error) => {
    throw error;
  });
  assert.equal(await client.ping(), "PONG");
  await client.del("io", "io:n", "io:none");
  assert.equal(await client.set("io", "väl\r\nue"), "OK");
  assert.equal(await client.get("io"), "väl\r\nue");
  assert.equal(await client.get("io:none"), null);
  const replies = await client.pipeline().incr("io:n").incrby("io:n", 41).decr("io:n").exec();
  assert.deepEqual(replies, [[null, 1], [null, 42], [null, 41]]);
  assert.match(await client.info(), /standing:serving/);
  await assert.rejects(client.call("NONE"), /unknown command/);
  assert.equal(await client.quit(), "OK");
}

// Counts until all swaps are over. What is not acknowledged once, in its turn, is noticed.
async function countThroughSwaps() {
  const client = new Redis({ port: Number(process.argv[2]) });
  client.on("error", (error) => {
    throw error;
  });
  let count = 0;
  while ((await client.get("swapped")) === null) {
    count += 1;
    assert.equal(await client.incr("count"), count);
  }
  await client.quit();
  return count;
}

await drive({});
await drive({ connectionName: "named" });
const { version } = JSON.parse(readFileSync("node_modules/ioredis/package.json", "utf8"));
console.log("ioredis", version, "counted to", await countThroughSwaps(), "through swaps");
