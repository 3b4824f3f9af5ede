// A program with dd-trace, configured by its environment.
"use strict";

require("dd-trace").init({ profiling: true });
const { work } = require("./work.js");

process.stdin.on("end", () => process.exit());
work(8).then(() => process.stdin.resume());
