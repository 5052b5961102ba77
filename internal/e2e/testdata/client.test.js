// Tests of the client with simulated sockets, clock and randomness. Run: node --test client.test.js
'use strict';
const { test } = require('node:test');
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const vm = require('node:vm');

const source = fs.readFileSync(path.join(__dirname, '../../../public/static/wsframe.js'), 'utf8');

/** Loads the client anew; advance() lets time pass, sockets holds what it dialled. */
function world() {
  let now = 0, timers = [], last = 0;
  const set = (f, ms, every, args) => { timers.push({ id: ++last, at: now + ms, f, every: every && ms, args }); return last; };
  const clear = (id) => { timers = timers.filter((t) => t.id !== id); };
  const sockets = [], errors = [];
  class Socket {
    constructor(url) { this.url = url; this.sent = []; sockets.push(this); }
    send(text) { this.sent.push(text); }
    close() { this.shut = true; }
    open() { this.onopen(); }
    push(frame) { this.onmessage({ data: JSON.stringify(frame) }); }
    end(code, reason = '') { if (this.onclose) this.onclose({ code, reason }); }
    get calls() { return this.sent.filter((t) => t !== '2').map((t) => JSON.parse(t)); }
    answer(n, more) { const { id } = this.calls.at(n); this.push({ status: 200, event: 'done', info: '', id, ...more }); }
  }
  const sandbox = {
    WebSocket: Socket, Date: { now: () => now }, Math: Object.assign(Object.create(Math, Object.getOwnPropertyDescriptors(Math)), { random: () => 1 }),
    setTimeout: (f, ms, ...args) => set(f, ms, false, args), setInterval: (f, ms, ...args) => set(f, ms, true, args), clearTimeout: clear, clearInterval: clear,
    addEventListener() {}, removeEventListener() {}, console: { error: (e) => errors.push(e) }, encodeURIComponent,
  };
  sandbox.globalThis = sandbox;
  vm.runInNewContext(source, sandbox);
  const settled = async () => { for (let i = 0; i < 20; i++) await null; };
  return {
    sockets, errors, settled, connect: () => sandbox.wsframe.connect({ url: 'ws://server/', token: '' }),
    get socket() { return sockets.at(-1); },
    async advance(ms) {
      await settled();
      for (const end = now + ms; ;) {
        timers.sort((a, b) => a.at - b.at);
        if (!timers.length || timers[0].at > end) { now = end; break; }
        const t = timers[0];
        now = t.at;
        if (t.every) t.at += t.every; else timers.shift();
        t.f(...t.args);
        await settled();
      }
      await settled();
    },
  };
}
const outcome = (promise) => { const o = {}; promise.then((v) => { o.value = v; }, (e) => { o.error = e; }); return o; };
const positions = (s) => (/recover=([^&]*)/.exec(s.url) || [])[1] && decodeURIComponent(/recover=([^&]*)/.exec(s.url)[1]);

test('a call waits for the connection that is being made, and goes behind what open asks for', async () => {
  const w = world(), ws = w.connect();
  ws.on('open', () => ws.call('join'));
  const said = outcome(ws.call('say', { say: 'hi' }));
  await w.settled();
  assert.equal(said.error, undefined);
  w.socket.open();
  assert.deepEqual(w.socket.calls.map((c) => c.method), ['join', 'say']);
  w.socket.answer(1, { param: 7 });
  await w.settled();
  assert.equal(said.value.param, 7);
});

test('a call waits over attempts, no longer than its time-out, and is sent once', async () => {
  const w = world(), ws = w.connect();
  const waits = outcome(ws.call('a')), late = outcome(ws.call('b'));
  w.socket.end(1006);
  await w.advance(3000);
  assert.equal(w.sockets.length, 2);
  w.socket.open();
  assert.deepEqual(w.socket.calls.map((c) => c.method), ['a', 'b']);
  w.socket.answer(0);
  await w.advance(7000);
  assert.ok(waits.value);
  assert.equal(late.error.message, 'no answer');
  w.socket.end(1006);
  const never = outcome(ws.call('c'));
  await w.advance(9999);
  assert.equal(never.error, undefined);
  await w.advance(1);
  assert.equal(never.error.message, 'not connected');
});

test('calls that wait are bounded, and end with the client', async () => {
  const w = world(), ws = w.connect();
  const list = Array.from({ length: 101 }, (_, i) => outcome(ws.call('m' + i)));
  await w.settled();
  assert.match(list[100].error.message, /too many calls/);
  assert.equal(list[99].error, undefined);
  ws.close();
  await w.settled();
  assert.equal(list[0].error.message, 'closed');
  const after = outcome(ws.call('x'));
  await w.settled();
  assert.equal(after.error.message, 'closed');
});

test('events of the server never run the client\'s own listeners, whatever their names', async () => {
  const w = world(), ws = w.connect(), own = [], server = [];
  ws.on('open', () => own.push('open'));
  ws.on('close', (code) => own.push('close ' + code));
  for (const event of ['open', 'close', 'error', 'state', 'message', 'constructor', '__proto__']) ws.server.on(event, (param) => server.push(event + ' ' + param));
  ws.on('state', (param) => server.push('on state ' + param));
  w.socket.open();
  for (const event of ['open', 'close', 'error', 'state', 'message', 'constructor', '__proto__']) w.socket.push({ status: 200, event, info: '', param: 1 });
  assert.deepEqual(own, ['open']);
  assert.deepEqual(server, ['open 1', 'close 1', 'error 1', 'state 1', 'on state 1', 'message 1', 'constructor 1', '__proto__ 1']);
  w.socket.end(1001, 'bye');
  assert.deepEqual(own, ['open', 'close 1001']);
  assert.equal(server.length, 8);
});

test('the pause grows until a connection has lived for 30 s', async () => {
  const w = world();
  w.connect();
  const pauses = [];
  const lose = async (code, lived) => {
    w.socket.open();
    await w.advance(lived);
    const n = w.sockets.length;
    w.socket.end(code);
    let ms = 0;
    for (; w.sockets.length === n; ms += 100) await w.advance(100);
    pauses.push(ms - 200); // with the largest random value
  };
  for (const code of [1008, 1009, 1008, 1009, 1008, 1009, 1012]) await lose(code, 1000);
  assert.deepEqual(pauses, [500, 1000, 2000, 4000, 8000, 15000, 15000]);
  pauses.length = 0;
  for (const lived of [30000, 29000, 30000]) await lose(1008, lived);
  await lose(1012, 30000);
  await lose(1012, 0);
  assert.deepEqual(pauses, [500, 1000, 500, 0, 1000]);
});

test('who is refused since he is connected comes back later; who is put out does not', async () => {
  for (const [code, back] of [[4009, 0], [4010, 1], [4011, 0]]) {
    const w = world(), ws = w.connect();
    w.socket.open();
    w.socket.end(code, 'why');
    await w.advance(14000);
    assert.equal(w.sockets.length, 1);
    const call = outcome(ws.call('x'));
    await w.settled();
    assert.equal(!!call.error, !back);
    await w.advance(600000);
    assert.equal(w.sockets.length > 1, !!back);
  }
});

test('the call that brought the close is rejected with its code and reason', async () => {
  const w = world(), ws = w.connect();
  w.socket.open();
  const big = outcome(ws.call('say', { say: 'x' }));
  w.socket.end(1009, 'message too large');
  await w.settled();
  assert.equal(big.error.code, 1009);
  assert.equal(big.error.reason, 'message too large');
  assert.match(big.error.message, /1009 message too large/);
});

const push = (room, offset, epoch = 'e') => ({ status: 200, event: 'said', info: '', param: offset, room, offset, epoch });
const event = (name, param) => ({ status: 200, event: name, info: '', param });

/** A client that is in room r at offset 5, and what it got. */
function inRoom() {
  const w = world(), ws = w.connect(), got = [];
  ws.on('said', (n) => got.push(n));
  w.socket.open();
  w.socket.push(event('sysPosition', { room: 'r', offset: 5, epoch: 'e' }));
  return Object.assign(w, { ws, got, async again() { w.socket.end(1006); await w.advance(20000); w.socket.open(); } });
}

test('the position is that of the join until a push comes', async () => {
  const w = inRoom();
  w.socket.push(event('sysPosition', { room: 'empty', offset: 0, epoch: 'f' }));
  await w.again();
  assert.equal(positions(w.socket), 'empty:f:0,r:e:5');
  w.socket.push(push('r', 7));
  w.socket.push(event('sysPosition', { room: 'r', offset: 6, epoch: 'e' })); // a late position, which the client ignores
  await w.again();
  assert.equal(positions(w.socket), 'r:e:7,empty:f:0');
});

for (const reason of ['unavailable', 'tooOften']) {
  test(`a recovery that is ${reason} keeps the position, asks again, and misses and doubles nothing`, async () => {
    const w = inRoom(), told = [];
    w.ws.on('sysRecovered', (r) => told.push(r.recovered));
    await w.again();
    w.socket.push(event('sysRecovered', { room: 'r', recovered: false, reason, offset: 5, epoch: 'e', count: 0 }));
    w.socket.push(push('r', 9)); // a live push, while 6, 7 and 8 are missing
    await w.advance(1000);
    assert.deepEqual({ ...w.socket.calls[0], id: 0 }, { method: 'sys.recover', room: 'r', epoch: 'e', offset: 5, id: 0 });
    w.socket.answer(0, { event: 'sysRecover', param: [{ room: 'r', recovered: false, reason, offset: 5, epoch: 'e' }] });
    await w.advance(1999);
    assert.equal(w.socket.calls.length, 1);
    await w.advance(1);
    assert.equal(w.socket.calls.length, 2);
    for (const n of [6, 7, 8]) w.socket.push(push('r', n));
    w.socket.answer(1, { event: 'sysRecover', param: [{ room: 'r', recovered: true, offset: 9, epoch: 'e', count: 3 }] });
    w.socket.push(push('r', 10));
    await w.advance(20000);
    assert.equal(w.socket.calls.length, 2);
    assert.deepEqual(w.got, [9, 6, 7, 8, 10]);
    assert.deepEqual(told, [false, true]);
    await w.again();
    assert.equal(positions(w.socket), 'r:e:10');
  });
}

test('a line that breaks before the second answer asks from the same position, and what came live does not come twice', async () => {
  const w = inRoom();
  await w.again();
  w.socket.push(event('sysRecovered', { room: 'r', recovered: false, reason: 'unavailable', offset: 5, epoch: 'e', count: 0 }));
  for (const n of [9, 10]) w.socket.push(push('r', n));
  await w.again();
  assert.equal(positions(w.socket), 'r:e:5');
  w.socket.push(event('sysRecovered', { room: 'r', recovered: true, offset: 11, epoch: 'e', count: 6 }));
  for (const n of [6, 7]) w.socket.push(push('r', n));
  await w.again(); // during the recovery
  assert.equal(positions(w.socket), 'r:e:7');
  w.socket.push(event('sysRecovered', { room: 'r', recovered: true, offset: 11, epoch: 'e', count: 4 }));
  for (const n of [8, 9, 10, 11, 12]) w.socket.push(push('r', n));
  assert.deepEqual(w.got, [9, 10, 6, 7, 8, 11, 12]);
  await w.again();
  assert.equal(positions(w.socket), 'r:e:12');
});

test('what is lost for good is taken from the server\'s position', async () => {
  const w = inRoom();
  await w.again();
  w.socket.push(event('sysRecovered', { room: 'r', recovered: false, reason: 'epoch', offset: 2, epoch: 'f', count: 0 }));
  w.socket.push(push('r', 3, 'f'));
  await w.again();
  assert.equal(positions(w.socket), 'r:f:3');
  w.ws.forget('r');
  await w.again();
  assert.equal(positions(w.socket), undefined);
});

test('a recovery that is tried again ends with the client', async () => {
  const w = inRoom();
  await w.again();
  w.socket.push(event('sysRecovered', { room: 'r', recovered: false, reason: 'unavailable', offset: 5, epoch: 'e', count: 0 }));
  w.ws.close();
  const n = w.sockets.length;
  await w.advance(600000);
  assert.equal(w.sockets.length, n);
  assert.deepEqual(w.errors, []);
});
