// Builds src/ and speedscope into ../profbucket/ui, or into the directory that is given: text only, and the same
// bytes whenever and wherever it runs.

import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = resolve(process.argv[2] ?? join(here, "../profbucket/ui"));
const modules = join(here, "node_modules");

const read = (...path) => readFile(join(...path), "utf8");

async function write(name, text) {
  const file = join(out, name);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, text);
}

// Who made what is bundled, and under which license, as these licenses ask.
async function notice(name) {
  const { version } = JSON.parse(await read(modules, name, "package.json"));
  return `/*!\n${name} ${version}\n\n${(await read(modules, name, "LICENSE")).trim()}\n*/\n`;
}

// The server lets what is asked for with the digest of its content be kept for ever.
function dated(html, files) {
  return html.replace(/(href|src)="([^"]+)"/g, (whole, attribute, name) => {
    const text = files[name];
    if (text === undefined) return whole;
    const digest = createHash("sha256").update(text).digest("hex").slice(0, 16);
    return `${attribute}="${name}?v=${digest}"`;
  });
}

async function page() {
  const result = await build({
    absWorkingDir: here,
    entryPoints: { app: "src/main.tsx" },
    bundle: true,
    minify: true,
    format: "iife",
    target: "es2022",
    charset: "utf8",
    legalComments: "none",
    outdir: out,
    write: false,
    logLevel: "warning",
  });
  const texts = Object.fromEntries(result.outputFiles.map((file) => [file.path.split("/").pop(), file.text]));
  const files = {
    "ui/app.js": (await notice("preact")) + texts["app.js"],
    "ui/app.css": texts["app.css"],
    "ui/icon.svg": await read(here, "src/icon.svg"),
  };
  for (const [name, text] of Object.entries(files)) await write(name.slice(3), text);
  await write("index.html", dated(await read(here, "src/index.html"), files));
}

// Its page anew, as its own refers to icons and a font; both are no text, and it does without.
async function speedscope() {
  const release = join(modules, "speedscope/dist/release");
  const names = await readdir(release);
  const named = (pattern) => names.find((name) => pattern.test(name));
  const script = await read(release, named(/^speedscope-.*\.js$/));
  const style = (await read(release, named(/^speedscope-.*\.css$/))).replace(/@font-face\s*\{[^}]*\}/g, "");
  const files = {
    "speedscope.js": (await notice("speedscope")) + script.replace(/\n?\/\/# sourceMappingURL=\S+\s*$/, "\n"),
    "speedscope.css": style.replace(/\n?\/\*# sourceMappingURL=.*?\*\/\s*$/, "\n"),
  };
  for (const [name, text] of Object.entries(files)) await write(`speedscope/${name}`, text);
  await write("speedscope/index.html", dated(await read(here, "src/speedscope.html"), files));
}

await rm(out, { recursive: true, force: true });
await page();
await speedscope();
