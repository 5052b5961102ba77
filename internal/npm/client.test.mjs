// Tests of the client with simulated sockets, clock and randomness. Run: node --test internal/npm
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { outcome, positions, world } from './world.mjs';

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
  ws.on('state', (state) => own.push('state ' + state));
  for (const event of ['open', 'close', 'error', 'state', 'message', 'constructor', '__proto__']) ws.server.on(event, (param) => server.push(event + ' ' + param));
  ws.on('error', (param) => server.push('on error ' + param));
  w.socket.open();
  for (const event of ['open', 'close', 'error', 'state', 'message', 'constructor', '__proto__']) w.socket.push({ status: 200, event, info: '', param: 1 });
  assert.deepEqual(own, ['state open', 'open']);
  assert.deepEqual(server, ['open 1', 'close 1', 'error 1', 'on error 1', 'state 1', 'message 1', 'constructor 1', '__proto__ 1']);
  w.socket.end(1001, 'bye');
  assert.deepEqual(own, ['state open', 'open', 'state waiting', 'close 1001']);
  assert.equal(server.length, 8);
});

test('the pause grows until a connection has lived for 30 s', async () => {
  const w = world();
  w.connect();
  const pauses = [];
  const lose = async (code, lived) => {
    w.socket.open();
    await w.advance(lived);
    const n = w.sockets.length, at = w.now;
    w.socket.end(code);
    while (w.sockets.length === n) await w.advance(100);
    pauses.push(w.socket.at - at); // with the largest random value
  };
  for (const code of [1008, 1009, 1008, 1006, 1012]) await lose(code, 1000);
  assert.deepEqual(pauses, [3000, 6000, 12000, 15000, 15000]);
  pauses.length = 0;
  for (const lived of [30000, 29000, 30000]) await lose(1008, lived);
  await lose(1012, 30000);
  await lose(1012, 0);
  assert.deepEqual(pauses, [3000, 6000, 3000, 0, 6000]);
});

test('who is refused since he is connected comes back later; who is put out does not', async () => {
  for (const [code, back] of [[4009, 0], [4010, 1], [4011, 0]]) {
    const w = world(), ws = w.connect();
    w.socket.open();
    w.socket.end(code, 'why');
    await w.advance(9999);
    assert.equal(w.sockets.length, 1);
    assert.equal(ws.state, back ? 'waiting' : 'closed');
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
    assert.deepEqual(w.got, []); // it is held until its order is known
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
    assert.deepEqual(w.got, [6, 7, 8, 9, 10]);
    assert.deepEqual(told, [true]);
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
  assert.deepEqual(w.got, [6, 7, 8, 9, 10, 11, 12]);
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
  w.ws.room('r').forget();
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

test('a recovery that fails for good is reported once, and later pushes are delivered', async () => {
  const w = inRoom(), told = [], inRoomToo = [];
  w.ws.on('sysRecovered', (r) => told.push(r.reason));
  w.ws.room('r').on('sysRecovered', (r) => inRoomToo.push(r.recovered));
  await w.again();
  w.socket.push(event('sysRecovered', { room: 'r', recovered: false, reason: 'unavailable', offset: 5, epoch: 'e', count: 0 }));
  for (const n of [9, 12]) w.socket.push(push('r', n));
  await w.advance(1000);
  w.socket.answer(0, { event: 'sysRecover', param: [{ room: 'r', recovered: false, reason: 'gone', offset: 10, epoch: 'e' }] });
  await w.settled();
  assert.deepEqual(told, ['gone']);
  assert.deepEqual(inRoomToo, [false]);
  assert.deepEqual(w.got, [12]); // up to 10 is to be read from the history
  assert.deepEqual({ ...w.ws.room('r').position }, { epoch: 'e', offset: 12 });
});

test('pushes that wait for missed ones are bounded', async () => {
  const w = inRoom(), told = [];
  w.ws.on('sysRecovered', (r) => told.push(r.reason));
  await w.again();
  w.socket.push(event('sysRecovered', { room: 'r', recovered: false, reason: 'unavailable', offset: 5, epoch: 'e', count: 0 }));
  for (let n = 9; n < 1010; n++) w.socket.push(push('r', n));
  assert.deepEqual(told, ['tooMany']);
  assert.deepEqual(w.got, Array.from({ length: 1001 }, (_, i) => 9 + i));
});

test('a room has its own pushes, presence and history', async () => {
  const w = inRoom(), r = w.ws.room('r'), got = [];
  r.onAny((name, param) => got.push([name, param.id || param]));
  w.socket.push(push('r', 6));
  w.socket.push(push('s', 1));
  w.socket.push(event('roomJoin', { room: 'r', id: 'u' }));
  w.socket.push(event('roomJoin', { room: 's', id: 'v' }));
  w.socket.push(event('roomViews', { room: 'r', views: 1 })); // the application's own words
  assert.deepEqual(got, [['said', 6], ['roomJoin', 'u']]);
  const page = outcome(r.history({ before: 6, limit: 2 }));
  assert.deepEqual({ ...w.socket.calls[0], id: 0 }, { before: 6, limit: 2, room: 'r', method: 'sys.history', id: 0 });
  w.socket.answer(0, { event: 'sysHistory', param: { room: 'r', epoch: 'e', offset: 6, first: 1, items: [], times: [] } });
  await w.settled();
  assert.equal(page.value.first, 1);
});

// --- states

const states = (ws) => { const list = []; ws.on('state', (s, d) => list.push(s + (d.code ? ' ' + d.code : ''))); return list; };

test('the state says what is, and when the next try is', async () => {
  const w = world(), ws = w.connect(), list = states(ws);
  assert.equal(ws.state, 'connecting');
  w.socket.open();
  w.socket.end(1006);
  assert.deepEqual({ ...ws.detail }, { code: 1006, reason: '', meaning: 'the connection was lost', failures: 0, next: 3000 });
  w.fire('offline');
  assert.equal(ws.state, 'offline');
  w.fire('online');
  await w.advance(3000);
  w.socket.end(1006);
  assert.equal(ws.detail.failures, 1);
  await w.advance(6000);
  w.socket.open();
  w.socket.end(4011, 'bye');
  assert.deepEqual(list, ['open', 'waiting 1006', 'offline 1006', 'waiting 1006', 'connecting', 'waiting 1006', 'connecting', 'open', 'closed 4011']);
  assert.equal(ws.detail.meaning, 'kicked');
  assert.equal(w.timers, 0);
  assert.equal(w.listening, 0);
  ws.open();
  assert.equal(ws.state, 'connecting');
  ws.close();
  assert.equal(ws.state, 'closed');
  assert.equal(w.timers, 0);
  assert.equal(w.listening, 0);
});

test('a handshake that nobody answers is given up, and one of before a sleep sooner', async () => {
  const w = world({ random: () => 0 }), ws = w.connect();
  await w.advance(9999);
  assert.equal(ws.state, 'connecting');
  await w.advance(1);
  assert.equal(w.sockets.length, 2);
  w.hide();
  w.sleep(60000);
  w.show();
  await w.advance(2500);
  assert.equal(w.sockets.length, 3);
});

// --- the truth after a wake

const wakes = {
  visibilitychange: (w) => { w.hide(); w.sleep(60000); w.show(); },
  pageshow: (w) => w.fire('pageshow'),
  online: (w) => w.fire('online'),
  offline: (w) => w.fire('offline'),
  'change of the network': (w) => w.fire('connection.change'),
  probe: (w, ws) => ws.probe(),
};
for (const [name, wake] of Object.entries(wakes)) {
  test(`a dead link is not shown as open after ${name}, and is known as dead within 3 s`, async () => {
    const w = world(), ws = w.connect(), list = states(ws);
    w.socket.open();
    wake(w, ws);
    assert.equal(ws.state, 'probing');
    w.socket.push({ status: 200, event: 'old', info: '', param: 0 }); // it may have arrived before the sleep
    const call = outcome(ws.call('say'));
    await w.advance(3000);
    assert.ok(['waiting', 'offline'].includes(ws.state), ws.state);
    assert.equal(w.socket.calls.length, 0); // the call waits for the next connection
    w.fire('online');
    await w.advance(3000);
    w.socket.open();
    assert.equal(w.socket.calls.length, 1);
    w.socket.answer(0);
    await w.settled();
    assert.ok(call.value);
    assert.equal(list.includes('closed'), false);
  });
  test(`a living link stays after ${name}`, async () => {
    const w = world(), ws = w.connect(), opened = [];
    ws.on('open', () => opened.push(1));
    w.socket.open();
    wake(w, ws);
    const call = outcome(ws.call('say'));
    assert.equal(w.socket.beats, 1);
    w.socket.text('3');
    assert.equal(ws.state, 'open');
    w.socket.answer(0);
    await w.advance(30000);
    assert.ok(call.value);
    assert.equal(w.sockets.length, 1);
    assert.equal(opened.length, 1);
  });
}

test('a machine that slept is noticed by its clock', async () => {
  const w = world(), ws = w.connect();
  w.socket.open();
  w.sleep(60000);
  await w.advance(2000);
  assert.equal(ws.state, 'probing');
});

test('a call that timed out starts a probe', async () => {
  const w = world(), ws = w.connect();
  w.socket.open();
  const call = outcome(ws.call('say', {}, { timeout: 5000 }));
  await w.advance(5000);
  assert.equal(call.error.kind, 'timeout');
  assert.equal(ws.state, 'probing');
  await w.advance(2500);
  assert.equal(ws.state, 'waiting');
});

test('a probe behind an action that takes its time does not end the connection', async () => {
  const w = world(), ws = w.connect();
  w.socket.open();
  const call = outcome(ws.call('slow'));
  ws.probe();
  await w.advance(8000);
  assert.equal(ws.state, 'probing');
  w.socket.answer(0);
  assert.equal(ws.state, 'open');
  await w.settled();
  assert.ok(call.value);
});

test('browsers send nothing before a minute of silence, and notice a dead server then', async () => {
  const w = world(), ws = w.connect();
  w.socket.open();
  await w.advance(58000);
  assert.equal(w.socket.sent.length, 0);
  await w.advance(4000);
  assert.equal(ws.state, 'open'); // one unanswered question is shown only when it is repeated
  assert.equal(w.socket.beats, 1);
  await w.advance(1000);
  assert.equal(ws.state, 'probing');
  await w.advance(3000);
  assert.equal(ws.state, 'waiting');
  const h = world(), hiddenOne = h.connect();
  h.socket.open();
  h.hide();
  await h.advance(600000);
  assert.equal(h.socket.sent.length, 0);
  assert.equal(hiddenOne.state, 'open');
});

// --- tokens

test('a token is asked for before each try', async () => {
  let n = 0;
  const w = world(), ws = w.connect({ token: async () => 't' + ++n });
  await w.settled();
  assert.deepEqual([...w.socket.protocols], ['wsframe.v1', 'wsframe.refused', 't1']);
  w.socket.open();
  w.socket.push(event('sysPosition', { room: 'r', offset: 5, epoch: 'e' }));
  w.socket.end(1001);
  await w.advance(3000);
  assert.equal(w.socket.protocols[2], 't2');
  assert.equal(positions(w.socket), 'r:e:5');
  assert.equal(ws.state, 'connecting');
});

test('a token that no header can carry goes into the query', async () => {
  const w = world();
  w.connect({ token: 'a/b=' });
  assert.equal(w.socket.url, 'ws://server/?auth=a%2Fb%3D');
  assert.deepEqual([...w.socket.protocols], ['wsframe.v1', 'wsframe.refused']);
});

test('4401: unauthorized, and the token is asked for again; open is never shown', async () => {
  let text = 'old';
  const asked = [];
  const w = world(), ws = w.connect({ token: () => { asked.push(w.now); return text; } }), list = states(ws);
  const call = outcome(ws.call('say'));
  await w.settled();
  w.socket.push(event('x', 1));
  w.socket.refuse(4401, 'token');
  assert.equal(ws.state, 'unauthorized');
  await w.advance(9000);
  assert.equal(w.sockets.length, 1); // the function gives the same token: the server is not asked again
  assert.deepEqual(asked, [0, 3000, 9000]);
  text = 'new';
  await w.advance(12000);
  assert.equal(w.sockets.length, 2);
  w.socket.open();
  assert.equal(ws.state, 'open');
  assert.deepEqual(list.filter((s) => /open|waiting/.test(s)), ['open']);
  await w.settled();
  assert.equal(call.error.kind, 'timeout');
});

test('4401 with a text: no try until there is another', async () => {
  const w = world(), ws = w.connect({ token: 'old' });
  w.socket.refuse(4401);
  await w.advance(600000);
  assert.equal(w.sockets.length, 1);
  assert.equal(ws.state, 'unauthorized');
  ws.setToken('new');
  assert.equal(w.socket.protocols[2], 'new');
});

test('a refusal that is hidden by HTTP is waiting, never unauthorized', async () => {
  const w = world(), ws = w.connect({ token: 'old' }), list = states(ws);
  for (let i = 0; i < 5; i++) {
    w.socket.end(1006);
    await w.advance(15000);
  }
  assert.equal(list.includes('unauthorized'), false);
  assert.equal(ws.state, 'connecting');
});

test('a token function that fails or never ends is asked again', async () => {
  let n = 0;
  const w = world(), ws = w.connect({ token: () => { if (++n === 1) throw new Error('down'); return n === 2 ? new Promise(() => {}) : 'x'; } });
  await w.settled();
  assert.equal(ws.detail.reason, 'no token: down');
  await w.advance(3000 + 10000 + 6000);
  assert.equal(w.sockets.length, 1);
  assert.equal(w.socket.protocols[2], 'x');
});

// --- calls

test('idempotent calls are sent again, all others once', async () => {
  const w = world(), ws = w.connect();
  w.socket.open();
  const once = outcome(ws.call('a')), again = outcome(ws.call('b', null, { idempotent: true }));
  w.socket.end(1006, 'gone');
  await w.settled();
  assert.deepEqual([once.error.kind, once.error.code, once.error.reason], ['lost', 1006, 'gone']);
  await w.advance(3000);
  w.socket.open();
  assert.deepEqual(w.socket.calls.map((c) => c.method), ['b']);
  w.socket.answer(0);
  await w.settled();
  assert.ok(again.value);
});

test('a call can fail at once, be aborted, and has the reply in its error', async () => {
  const w = world(), ws = w.connect();
  const now = outcome(ws.call('a', {}, { queue: false })), stop = new AbortController(), aborted = outcome(ws.call('b', {}, { signal: stop.signal }));
  await w.settled();
  assert.equal(now.error.kind, 'offline');
  stop.abort(new Error('enough'));
  await w.settled();
  assert.equal(aborted.error.message, 'enough');
  w.socket.open();
  assert.equal(w.socket.calls.length, 0);
  const bad = outcome(ws.call('c')), late = outcome(ws.call('d', {}, { timeout: 100 })), events = [];
  ws.onAny((name) => events.push(name));
  w.socket.answer(0, { status: 400, event: 'paramError', info: 'no', param: [1] });
  await w.advance(100);
  assert.deepEqual([bad.error.kind, bad.error.status, bad.error.event, bad.error.info, bad.error.message, [...bad.error.param]], ['reply', 400, 'paramError', 'no', 'no', [1]]);
  assert.equal(late.error.kind, 'timeout');
  w.socket.answer(1); // nobody waits for it, and it is no event
  assert.deepEqual(events, []);
});

test('once, off, onAny', async () => {
  const w = world(), ws = w.connect(), got = [], f = (n) => got.push('f' + n);
  w.socket.open();
  ws.once('e', (n) => got.push('once' + n));
  ws.on('e', f);
  const stop = ws.onAny((name, n) => got.push('any ' + name + n));
  w.socket.push(event('e', 1));
  ws.off('e', f);
  w.socket.push(event('e', 2));
  stop();
  w.socket.push(event('e', 3));
  assert.deepEqual(got, ['once1', 'f1', 'any e1', 'any e2']);
  ws.on('e', () => { throw new Error('mine'); });
  ws.on('e', f);
  w.socket.push(event('e', 4));
  assert.deepEqual(got.at(-1), 'f4');
  assert.equal(w.errors.length, 1);
});

// --- many clients

/** Returns the largest number of tries in any 100 ms. */
function densest(times) {
  const list = [...times].sort((a, b) => a - b);
  let most = 0;
  for (let i = 0, j = 0; i < list.length; i++) {
    while (list[i] - list[j] >= 100) j++;
    most = Math.max(most, i - j + 1);
  }
  return most;
}

/** A generator of random numbers with a seed (mulberry32). */
function seeded(seed) {
  return () => {
    seed = seed + 0x6D2B79F5 | 0;
    let t = Math.imul(seed ^ seed >>> 15, 1 | seed);
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
    return ((t ^ t >>> 14) >>> 0) / 2 ** 32;
  };
}

for (const code of [1001, 1006]) {
  test(`after ${code} at most 5 % of 1,000 clients come back in any 100 ms`, async () => {
    const w = world({ random: seeded(7) });
    for (let i = 0; i < 1000; i++) w.connect();
    for (const s of [...w.sockets]) s.open();
    for (const s of w.sockets.slice(0, 1000)) s.end(code);
    await w.advance(3000);
    const times = w.sockets.slice(1000).map((s) => s.at);
    assert.equal(times.length, 1000);
    assert.ok(densest(times) <= 50, `${densest(times)} tries in 100 ms`);
    const before = w.sockets.length; // the server is still away
    for (const s of w.sockets.slice(1000)) s.end(1006);
    await w.advance(6000);
    assert.ok(densest(w.sockets.slice(before).map((s) => s.at)) <= 50);
  });
}

test('the return of the network does not bring all clients at once, either', async () => {
  const w = world({ random: seeded(3) });
  for (let i = 0; i < 1000; i++) w.connect();
  for (const s of [...w.sockets]) s.open();
  for (const s of w.sockets.slice(0, 1000)) s.end(4429); // they wait for 10 to 20 s
  w.fire('online');
  await w.advance(3000);
  assert.equal(w.sockets.length, 2000);
  assert.ok(densest(w.sockets.slice(1000).map((s) => s.at)) <= 50);
});
