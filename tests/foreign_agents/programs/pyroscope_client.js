// A program with @pyroscope/nodejs: pyroscope_client.js URL SERVICE KEY
"use strict";

const Pyroscope = require("@pyroscope/nodejs");
const { work } = require("./work.js");

const [url, service, key] = process.argv.slice(2);
const interval = process.env.FLUSH_INTERVAL_MS;
Pyroscope.init({
  appName: service,
  serverAddress: url,
  authToken: key,
  tags: { version: "1.2.3" },
  ...(interval && { flushIntervalMs: Number(interval) }),
  wall: { collectCpuTime: process.env.COLLECT_CPU_TIME === "1" },
});
Pyroscope.start();
work(3600);
