// Builds the package from public/static/wsframe.js into internal/npm/dist, which git ignores:
//
//   node internal/npm/build.mjs [version]
//
//   dist/wsframe.mjs    the source: import { connect } from 'wsframe'
//   dist/wsframe.cjs    for require(), such as in a mini program
//   dist/wsframe.js     the same for a plain <script>: globalThis.wsframe
//   dist/node.*         for Node, which has no WebSocket that shows pings
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('./', import.meta.url));
export const sourceFile = fileURLToPath(new URL('../../public/static/wsframe.js', import.meta.url));
const EXPORT = 'export { connect };\n';

/** Returns a classic script of the module: it sets module.exports, or else globalThis.wsframe. */
export function classic(source) {
  if (!source.endsWith(EXPORT) || source.split(/^export /m).length !== 2) throw new Error('wsframe.js does not end with its only export');
  return `(function (root) {
'use strict';
${source.slice(0, -EXPORT.length)}if (typeof module === 'object' && module.exports) module.exports = { connect };
else root.wsframe = { connect };
})(typeof globalThis === 'object' ? globalThis : this);
`;
}

export function build(dist, version) {
  const source = readFileSync(sourceFile, 'utf8');
  const about = JSON.parse(readFileSync(here + 'package.json', 'utf8'));
  if (version) about.version = version;
  rmSync(dist, { recursive: true, force: true });
  mkdirSync(dist, { recursive: true });
  writeFileSync(dist + '/package.json', JSON.stringify(about, null, 2) + '\n');
  writeFileSync(dist + '/wsframe.mjs', source);
  for (const name of ['wsframe.js', 'wsframe.cjs']) writeFileSync(dist + '/' + name, classic(source));
  for (const name of ['wsframe.d.ts', 'node.mjs', 'node.cjs', 'socket.cjs']) cpSync(here + name, dist + '/' + name);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) build(here + 'dist', process.argv[2]);
