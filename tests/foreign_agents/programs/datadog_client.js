// A program with dd-trace, configured by its environment.
"use strict";

require("dd-trace").init({ profiling: true });
const { work } = require("./work.js");

work(3600);
