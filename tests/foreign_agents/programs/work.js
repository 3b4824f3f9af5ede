// Work for a profiler: seven tenths of the CPU time in hot, three in cold.
"use strict";

function hot(steps) {
  let sum = 0;
  for (let i = 0; i < steps; i++) sum += Math.sqrt(i);
  return sum;
}

function cold(steps) {
  let sum = 0;
  for (let i = 0; i < steps; i++) sum += Math.sqrt(i);
  return sum;
}

exports.work = async (seconds) => {
  const end = performance.now() + 1000 * seconds;
  const memory = [];
  while (performance.now() < end) {
    for (let i = 0; i < 5; i++) {
      // Short, so that few seconds are enough on a busy machine; random, so that no sampler is in step with it.
      const steps = 1e6 * (0.5 + Math.random());
      hot(7 * steps);
      cold(3 * steps);
    }
    memory.push(new Array(5000).fill(memory.length));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return memory.length;
};
