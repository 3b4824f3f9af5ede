// Work for a profiler: seven tenths of the CPU time in hot, three in cold.
"use strict";

const STEPS = 4e6;

function hot() {
  let sum = 0;
  for (let i = 0; i < 7 * STEPS; i++) sum += Math.sqrt(i);
  return sum;
}

function cold() {
  let sum = 0;
  for (let i = 0; i < 3 * STEPS; i++) sum += Math.sqrt(i);
  return sum;
}

exports.work = async (seconds) => {
  const end = performance.now() + 1000 * seconds;
  const memory = [];
  while (performance.now() < end) {
    hot();
    cold();
    memory.push(new Array(20000).fill(memory.length));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return memory.length;
};
