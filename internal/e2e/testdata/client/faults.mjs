// Clients behind lines that fail, each of which counts every message of a room. Arguments: folder of
// the package, address of the server, tokens of a writer and of readers. It writes "reload" when the
// server is to be reloaded, and reads a line when that is done.
import { once } from 'node:events';
import readline from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { Line } from './line.mjs';

const [dist, address, writerToken, ...tokens] = process.argv.slice(2);
const { connect } = await import(pathToFileURL(dist + '/node.mjs'));
const [host, port] = address.split(':');
const CHANNEL = 'CHAT_ROOM_lobby';
const fail = (text) => { console.log('FAIL ' + text); process.exit(1); };
setTimeout(fail, 240000, 'no end after four minutes').unref();

async function until(what, f) {
  for (const end = Date.now() + 60000; !f(); await sleep(5)) if (Date.now() > end) fail('waited in vain: ' + what);
}

const writer = connect({ url: `ws://${address}/`, token: writerToken });
writer.on('open', () => writer.call('chat.room.join', { room: 'lobby' }));
const sent = [];
let writing = true;
const written = (async () => {
  for (let n = 0; writing; n++) {
    await writer.call('chat.room.say', { room: 'lobby', text: 'm' + n, key: 'k' + n });
    sent.push('m' + n);
    await sleep(200); // the sample keeps 200 messages of a room
  }
})();

const readers = await Promise.all(tokens.map(async (token, i) => {
  const line = await new Line(host, +port).listen();
  const r = { line, got: [], states: [], recovered: 0, asked: 0, log: [] };
  const ws = connect({ url: `ws://127.0.0.1:${line.port}/`, token: async () => { r.asked++; return token; } });
  ws.on('state', (state) => r.states.push(state));
  ws.on('open', () => ws.call('chat.room.join', { room: 'lobby' }, { idempotent: true, timeout: 60000 }).catch((e) => fail(`reader ${i} cannot join: ${e.message}`)));
  ws.room(CHANNEL).on('roomSay', (m, f) => { r.got.push(m.text); r.log.push(m.text + '@' + f.offset); });
  ws.on('state', (state) => r.log.push(state));
  ws.room(CHANNEL).on('sysRecovered', (p) => { r.recovered++; r.log.push('recovered ' + p.count + ' to ' + p.offset); if (!p.recovered) fail(`reader ${i} is not recovered: ${p.reason} ${JSON.stringify(p)} after ${r.got.at(-1)}, sent ${sent.at(-1)}, ${r.states}`); });
  return Object.assign(r, { ws });
}));
await until('the readers are in the room', () => readers.every((r) => r.got.length > 0));
const first = readers.map((r) => +r.got[0].slice(1));

const again = async (r, fault) => {
  const n = r.ws.detail.connections, got = r.got.length;
  await fault();
  await until('a new connection', () => r.ws.state === 'open' && r.ws.detail.connections > n);
  await until('messages', () => r.got.length > got + 5);
};
const faults = {
  cut: (r) => again(r, () => r.line.cut()),
  halfClose: (r) => again(r, () => r.line.halfClose()),
  refuse: (r) => again(r, async () => {
    const n = r.line.tries;
    r.line.refuses = true;
    r.line.cut();
    await until('a try that fails', () => r.line.tries > n);
    r.line.refuses = false;
  }),
  dead: (r) => again(r, async () => {
    r.line.hold();
    r.ws.probe();
    if (r.ws.state !== 'probing') fail('a link that is probed is shown as ' + r.ws.state);
    r.states.length = 0;
    await until('the link counts as lost', () => r.ws.state === 'waiting');
    if (r.states.join() !== 'waiting') fail('a dead link was shown as ' + r.states);
    r.line.release();
  }),
  delay: async (r) => {
    const n = r.ws.detail.connections;
    r.line.delay = 300;
    r.ws.probe();
    await until('the answer to the probe', () => r.ws.state === 'open');
    if (r.ws.detail.connections !== n) fail('a slow link was given up');
    r.line.delay = 0;
  },
};
const names = Object.keys(faults);
const input = once(readline.createInterface({ input: process.stdin }), 'line');
await Promise.all([
  (async () => { await until('some messages', () => sent.length > 20); console.log('reload'); await input; })(),
  ...readers.map(async (r, i) => { for (let k = 0; k < names.length; k++) await faults[names[(i + k) % names.length]](r); }),
]);
const call = writer.call('chat.room.say', { room: 'lobby', text: 'too late', key: '' }).catch((e) => e); // refused or said: not counted
await call;
writing = false;
await written;
await until('all messages', () => readers.every((r) => r.got.includes(sent.at(-1))));
readers.forEach((r, i) => {
  const got = r.got.filter((text) => text !== 'too late'), want = sent.slice(first[i]);
  if (got.join() !== want.join()) fail(`reader ${i} has ${got.length} of ${want.length} messages: ${r.log.slice(r.log.findIndex((x) => x.startsWith(got.find((x, k) => x !== want[k]) + '@')) - 12).slice(0, 24)}`);
  if (r.recovered < 4) fail(`reader ${i} recovered ${r.recovered} times`);
  if (r.asked < r.ws.detail.connections) fail(`reader ${i} asked for its token ${r.asked} times`);
  r.ws.close();
  r.line.close();
});
writer.close();
console.log(`ok: ${sent.length} messages, ${readers.length} readers, ${readers.reduce((n, r) => n + r.recovered, 0)} recoveries`);
process.exit(0);
