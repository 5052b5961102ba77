// Tests of the package as it is built: its files, their size, its types, and the documents' snippets.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { after, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import vm from 'node:vm';
import { gzipSync } from 'node:zlib';
import { build, sourceFile } from './build.mjs';
import { world } from './world.mjs';

const here = fileURLToPath(new URL('./', import.meta.url));
const top = here + '../../';
const dist = mkdtempSync(tmpdir() + '/wsframe-npm-');
build(dist, '1.2.3');
after(() => rmSync(dist, { recursive: true }));

test('the client has at most 8 KB gzipped, and no dependency', () => {
  for (const file of [sourceFile, dist + '/wsframe.mjs', dist + '/wsframe.js', dist + '/wsframe.cjs']) {
    const size = gzipSync(readFileSync(file), { level: 9 }).length;
    assert.ok(size <= 8192, `${file}: ${size} bytes`);
  }
  assert.doesNotMatch(readFileSync(sourceFile, 'utf8'), /^\s*import |require\(/m);
  const about = JSON.parse(readFileSync(dist + '/package.json', 'utf8'));
  assert.equal(about.version, '1.2.3');
  assert.equal(about.dependencies, undefined);
});

test('each file that package.json names is there', () => {
  const about = JSON.parse(readFileSync(dist + '/package.json', 'utf8'));
  const names = (x) => typeof x === 'string' ? [x] : Object.values(x).flatMap(names);
  for (const name of [about.types, about.main, about.module, about.unpkg, ...names(about.exports)]) assert.ok(existsSync(dist + '/' + name), name);
});

test('import, require and a plain script give connect', async () => {
  const require = createRequire(dist + '/x.js');
  for (const name of ['wsframe.mjs', 'node.mjs']) assert.equal(typeof (await import(pathToFileURL(dist + '/' + name))).connect, 'function', name);
  for (const name of ['./wsframe.cjs', './node.cjs']) assert.equal(typeof require(name).connect, 'function', name);
  const page = {};
  page.globalThis = page;
  vm.runInNewContext(readFileSync(dist + '/wsframe.js', 'utf8'), page);
  assert.equal(typeof page.wsframe.connect, 'function');
  assert.equal(typeof (await import('./build.mjs')).build, 'function');
});

test('the types pass tsc --strict', () => {
  const folder = here + 'types';
  const lock = readFileSync(folder + '/package-lock.json', 'utf8');
  const installed = folder + '/node_modules/.package-lock.json';
  const version = JSON.parse(lock).packages['node_modules/typescript'].version;
  if (!existsSync(installed) || JSON.parse(readFileSync(installed, 'utf8')).packages['node_modules/typescript'].version !== version) {
    execFileSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: folder, stdio: 'pipe' });
  }
  try {
    execFileSync(process.execPath, [folder + '/node_modules/typescript/bin/tsc', '-p', folder], { stdio: 'pipe' });
  } catch (e) {
    assert.fail(String(e.stdout));
  }
});

/** Returns the snippets of a document in that language. */
const snippets = (name, language) => [...readFileSync(top + name, 'utf8').matchAll(/^```(\w+)\n(.*?)^```/gms)].filter((m) => m[1] === language).map((m) => m[2]);

for (const name of ['README.md', 'README.zh-CN.md', 'docs/client.md', 'docs/client.zh-CN.md']) {
  test(`the snippets of ${name} run as they are`, async () => {
    const list = snippets(name, 'js');
    assert.ok(list.length >= (name.startsWith('docs') ? 5 : 1));
    const w = world(), said = [], asked = [];
    const serve = async () => { // opens what is dialled, and answers what is called
      for (const s of w.sockets) {
        if (s.shut) continue;
        if (!s.opened) { s.opened = true; s.open(); }
        for (const call of s.calls.slice(s.done || 0)) {
          asked.push(call.method);
          const fails = call.say === '';
          s.push({ status: fails ? 400 : 200, event: 'done', info: fails ? 'nothing to say' : '', param: 'p', id: call.id });
        }
        s.done = s.calls.length;
      }
    };
    const script = list.join('\n').replace(/^import .*\n/gm, '');
    const run = new Function('connect', 'token', 'show', 'fetch', `return (async () => {\n${script}\nreturn ws;\n})();`);
    let over = false;
    const end = run(w.sandbox.wsframe.connect, 'x', (text) => said.push(text), async () => ({ text: async () => 'y' })).finally(() => { over = true; });
    for (let i = 0; !over && i < 100; i++) { await serve(); await w.settled(); }
    const ws = await end;
    assert.equal(ws.state, 'open');
    assert.deepEqual(asked.slice(0, 2), ['live.user.join', 'live.user.say']);
    w.socket.push({ status: 200, event: 'userSayBroadcast', info: '', param: 'shown' });
    for (const s of w.sockets) s.push({ status: 200, event: 'userSayBroadcast', info: '', param: 'shown' });
    assert.ok(said.includes('shown'));
    if (name.startsWith('docs')) assert.ok(said.includes('nothing to say') && said.includes('open'), said);
    assert.deepEqual(w.errors, []);
  });
}

test('the typed snippets pass tsc', () => {
  const [a, b] = ['docs/client.md', 'docs/client.zh-CN.md'].map((name) => snippets(name, 'ts'));
  assert.deepEqual(a, b);
  assert.equal(a.length, 1);
  const use = readFileSync(here + 'types/snippet.ts', 'utf8');
  assert.ok(use.includes(a[0].split('\n').slice(3).join('\n')), 'types/snippet.ts has the snippet of docs/client.md');
});
