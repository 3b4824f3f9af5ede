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

function usedMicroseconds() {
  const { user, system } = process.cpuUsage();
  return user + system;
}

// Uses so many seconds of CPU time, or WORK_SECONDS, and of a processor the share WORK_SHARE, by default all.
exports.work = async (seconds) => {
  const share = Number(process.env.WORK_SHARE ?? 1);
  const end = usedMicroseconds() + 1e6 * Number(process.env.WORK_SECONDS ?? seconds);
  const memory = [];
  while (usedMicroseconds() < end) {
    const start = performance.now();
    for (let i = 0; i < 5; i++) {
      // Short, so that few seconds are enough on a busy machine; random, so that no sampler is in step with it.
      const steps = 1e6 * (0.5 + Math.random());
      hot(7 * steps);
      cold(3 * steps);
    }
    memory.push(new Array(5000).fill(memory.length));
    const pause = (performance.now() - start) * (1 / share - 1);
    await new Promise((resolve) => setTimeout(resolve, Math.max(1, pause)));
  }
  return memory.length;
};
