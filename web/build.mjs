// Builds src/ and speedscope into ../profbucket/ui, or into the directory in the first argument. Writes text files only;
// the build is reproducible.

import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = dirname(fileURLToPath(import.meta.url));
const out = resolve(process.argv[2] ?? join(root, "../profbucket/ui"));
const modules = join(root, "node_modules");

const read = (...path) => readFile(join(...path), "utf8");

async function write(name, text) {
  const file = join(out, name);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, text);
}

// Returns the version and license of a bundled package, as its license requires.
async function licenseNotice(name) {
  const { version } = JSON.parse(await read(modules, name, "package.json"));
  return `/*!\n${name} ${version}\n\n${(await read(modules, name, "LICENSE")).trim()}\n*/\n`;
}

// Adds the digests of files to the links to them. The server lets browsers cache such URLs forever.
function addDigests(html, files) {
  return html.replace(/(href|src)="([^"]+)"/g, (link, attribute, name) => {
    const text = files[name];
    if (text === undefined) return link;
    const digest = createHash("sha256").update(text).digest("hex").slice(0, 16);
    return `${attribute}="${name}?v=${digest}"`;
  });
}

async function buildPage() {
  const result = await build({
    absWorkingDir: root,
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
    "ui/app.js": (await licenseNotice("preact")) + texts["app.js"],
    "ui/app.css": texts["app.css"],
    "ui/icon.svg": await read(root, "src/icon.svg"),
  };
  for (const [name, text] of Object.entries(files)) await write(name.slice(3), text);
  await write("index.html", addDigests(await read(root, "src/index.html"), files));
}

// Replaces speedscope's HTML, which refers to icons and a font: these are not text, and speedscope works without them.
async function buildSpeedscope() {
  const release = join(modules, "speedscope/dist/release");
  const names = await readdir(release);
  const find = (pattern) => names.find((name) => pattern.test(name));
  const script = await read(release, find(/^speedscope-.*\.js$/));
  const style = (await read(release, find(/^speedscope-.*\.css$/))).replace(/@font-face\s*\{[^}]*\}/g, "");
  const files = {
    "speedscope.js":
      (await licenseNotice("speedscope")) + script.replace(/\n?\/\/# sourceMappingURL=\S+\s*$/, "\n"),
    "speedscope.css": style.replace(/\n?\/\*# sourceMappingURL=.*?\*\/\s*$/, "\n"),
  };
  for (const [name, text] of Object.entries(files)) await write(`speedscope/${name}`, text);
  await write("speedscope/index.html", addDigests(await read(root, "src/speedscope.html"), files));
}

await rm(out, { recursive: true, force: true });
await buildPage();
await buildSpeedscope();
