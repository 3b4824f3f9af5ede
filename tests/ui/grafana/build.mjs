// Bundles Grafana's flame graph into the directory in the first argument. Its own assistant is not on npm.

import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

await build({
  absWorkingDir: dirname(fileURLToPath(import.meta.url)),
  entryPoints: ["main.jsx"],
  bundle: true,
  minify: true,
  format: "iife",
  jsx: "automatic",
  outfile: `${process.argv[2]}/bundle.js`,
  alias: { "@grafana/assistant": "./assistant.js" },
  define: { "process.env.NODE_ENV": '"production"' },
  loader: { ".svg": "dataurl", ".ttf": "empty", ".woff2": "empty" },
  logLevel: "error",
});
