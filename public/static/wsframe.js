/**
 * The wsframe client keeps one connection open, makes calls and delivers events. One file without
 * dependencies serves browsers, WeChat mini programs, uni-app and Node; docs/client.md describes it.
 *
 *   import { connect } from './wsframe.js';
 *   const ws = connect({ url: 'wss://example.com/', token: () => fetchToken() });
 *   ws.on('userSayBroadcast', (param) => …);                // an event of the server
 *   ws.on('open', () => ws.call('live.user.join'));         // after each connection
 *   ws.on('state', (state, detail) => …);                   // what to show
 *   const { param } = await ws.call('live.user.say', { say: 'hi' });
 *
 * A module script also sets globalThis.wsframe, for classic scripts after it.
 */
const VERSION = 'wsframe.v1'; // subprotocol: refusals come as close codes, since browsers hide those of HTTP
const REFUSED = 'wsframe.refused'; // subprotocol that the server selects when it refuses
const TIMEOUT = 10000; // ms for a call, a token and a handshake
const PROBE = 2500; // ms for the answer to a probe
const FRESH = 1000; // ms after a probe, in which frames may be from before the sleep
const TICK = 2000; // ms between two looks at the clock
const SLEPT = 15000; // ms between two ticks: the machine or the page was suspended
const QUIET = 60000; // ms without any frame, after which the server is asked for one
const QUIET_MINI = 25000; // ms; mini programs do not answer pings in every version
const SPREAD = 3000; // ms over which the clients of a lost server come back
const LONGEST = 15000; // ms; upper limit of a pause
const STEADY = 30000; // ms; a connection that lasted so long resets the growing pause
const QUEUE = 100; // calls that wait for a connection
const HELD = 1000; // pushes of a room that wait for earlier ones
const RECOVER = 4000; // characters of positions in the query; the server accepts a request head of 8 KiB

// When to come back after a close, and what the code means. Any other code is 'backoff'.
// Generated from framework/internal/wire/comeback.go by: go generate ./framework/internal/wire
const CLOSE = {
  1000: ['backoff', 'closed by the server'],
  1001: ['backoff', 'the server stops'],
  1002: ['backoff', 'a frame was not valid'],
  1006: ['backoff', 'the connection was lost'],
  1007: ['backoff', 'a message was not valid'],
  1008: ['backoff', 'a rule was broken'],
  1009: ['backoff', 'a message was too large'],
  1011: ['backoff', 'internal error'],
  1012: ['now', 'moved to another server process'],
  4000: ['backoff', 'nothing arrived for too long'],
  4008: ['backoff', 'this client is too slow'],
  4009: ['never', 'the user connected elsewhere'],
  4010: ['later', 'the user is connected elsewhere'],
  4011: ['never', 'kicked'],
  4401: ['token', 'the token is missing, wrong or expired'],
  4403: ['later', 'the origin of this page is not allowed'],
  4429: ['later', 'too many connections'],
};
// End of the generated table.

/** The API of a mini program, from WeChat or uni-app. A web page in WeChat has a wx without sockets. */
const miniProgram = () => [typeof wx === 'object' && wx, typeof uni === 'object' && uni].find((api) => api && api.connectSocket);

/** Opens a socket of the platform. on.close is called once, and no other function of on after it. */
function dial(Socket, mini, url, protocols, on) {
  if (Socket) {
    const ws = new Socket(url, protocols);
    ws.onopen = () => on.open(ws.protocol === REFUSED);
    ws.onmessage = (e) => on.message(e.data);
    ws.onclose = (e) => on.close(e.code, e.reason);
    ws.onerror = () => {}; // close follows
    ws.onping = on.alive; // browsers have none; wsframe's socket for Node has
    return {
      send: (text) => ws.send(text),
      close(code) { ws.onopen = ws.onmessage = ws.onclose = ws.onping = null; ws.close(code); }, // no effect on a closed socket
    };
  }
  if (!mini) throw new Error('this platform has no WebSocket: pass one to connect');
  let over = false;
  const end = (code, reason) => { if (!over) { over = true; on.close(code || 1006, reason || ''); } };
  const failed = (e) => setTimeout(end, 0, 1006, e && e.errMsg);
  const task = mini.connectSocket({ url, protocols, fail: failed, complete() {} });
  if (!task || !task.onOpen) { failed(); return { send() {}, close() { over = true; } }; }
  task.onOpen((e) => { if (!over) on.open((JSON.stringify(e && e.header) || '').includes(REFUSED)); });
  task.onMessage((e) => { if (!over) on.message(e.data); });
  task.onClose((e) => end(e && e.code, e && e.reason));
  task.onError((e) => end(1006, e && e.errMsg));
  return {
    send: (data) => task.send({ data, fail: (e) => end(1006, e && e.errMsg) }),
    close(code = 1000) { over = true; task.close({ code, fail() {} }); },
  };
}

const hidden = () => typeof document === 'object' && document.hidden;

/**
 * Reports that the page or the machine may have slept (wake), and changes of the network (online).
 * Returns a function that stops it.
 */
function watch(mini, Socket, wake, online) {
  const undo = [];
  let last = Date.now();
  const woken = () => { last = Date.now(); wake(); };
  const listen = (target, event, f) => {
    if (!target || !target.addEventListener) return;
    target.addEventListener(event, f);
    undo.push(() => target.removeEventListener(event, f));
  };
  if (Socket) {
    const page = typeof addEventListener === 'function' ? globalThis : null;
    listen(page, 'online', () => online(true));
    listen(page, 'offline', () => online(false));
    listen(page, 'pageshow', woken);
    if (page && typeof document === 'object') listen(document, 'visibilitychange', () => { if (!hidden()) woken(); });
    if (page && typeof navigator === 'object') listen(navigator.connection, 'change', woken);
  } else if (mini) {
    const network = (e) => online(e.isConnected);
    if (mini.onNetworkStatusChange) mini.onNetworkStatusChange(network);
    if (mini.onAppShow) mini.onAppShow(woken);
    undo.push(() => {
      if (mini.offNetworkStatusChange) mini.offNetworkStatusChange(network);
      if (mini.offAppShow) mini.offAppShow(woken);
    });
  }
  const timer = setInterval(() => {
    const slept = Date.now() - last > SLEPT && !hidden();
    last = Date.now();
    wake(!slept);
  }, TICK);
  undo.push(() => clearInterval(timer));
  return () => { for (const f of undo) f(); };
}

const ANY = {}; // the event of listeners to all events

/** Makes a registry of events and their listeners. */
function emitter() {
  const lists = new Map(); // event → Map of function → whether it is called once
  const off = (event, f) => {
    const list = lists.get(event);
    if (list && f) list.delete(f);
    if (list && (!f || !list.size)) lists.delete(event);
  };
  const on = (event, f, once = false) => {
    if (!lists.has(event)) lists.set(event, new Map());
    lists.get(event).set(f, once);
    return () => off(event, f);
  };
  const run = (event, args) => {
    for (const [f, once] of [...(lists.get(event) || [])]) {
      if (once) off(event, f);
      try { f(...args); } catch (e) { console.error(e); } // the other listeners still run
    }
  };
  return {
    api: { on: (event, f) => on(event, f), once: (event, f) => on(event, f, true), off, onAny: (f) => on(ANY, f) },
    emit(event, ...args) { run(event, args); run(ANY, [event, ...args]); },
  };
}

const failure = (kind, message, more) => Object.assign(new Error(message), { kind }, more);

/** Opens a connection. Throws if the url is not valid. */
function connect({ url, token, WebSocket: Socket = typeof WebSocket === 'function' ? WebSocket : undefined }) {
  if (!/^wss?:\/\/[^/]/.test(url)) throw new Error('not the address of a WebSocket: ' + url);
  const mini = miniProgram();
  const own = emitter(), server = emitter();
  const calls = new Map(); // request id → its call, in the order in which they were made
  const rooms = new Map(); // name → its position; that with the oldest push is first
  const listeners = new Map(); // name → the emitter of a room
  let state = '', detail = {};
  let socket = null, live = false; // live: the handshake was answered
  let turn = 0; // counts tries; what belongs to an earlier one is ignored
  let closed = true, offline = false, refused; // refused: the token that the server does not accept
  let tries = 0, failures = 0, connections = 0, nextId = 1;
  let retry = 0, retryAt = 0, limit = 0, checking = 0, askedAt = 0, heardAt = 0, unwatch;

  function set(name, more) {
    const same = name === state && !more;
    state = name;
    detail = { ...more };
    if (!same) own.emit('state', state, detail);
  }

  // --- the connection

  /** Starts a try: asks for the token, then dials. */
  function open() {
    clearTimeout(retry);
    retry = 0;
    const mine = ++turn;
    set('connecting');
    if (typeof token !== 'function') { start(mine, token); return; }
    limit = setTimeout(again, TIMEOUT, mine, 1006, 'no token in time');
    Promise.resolve().then(token).then((text) => {
      if (mine !== turn) return;
      if (refused !== undefined && text === refused) unauthorized(4401, 'the same token again');
      else start(mine, text);
    }, (e) => again(mine, 1006, 'no token: ' + (e && e.message || e)));
  }

  function start(mine, text) {
    text = text || '';
    clearTimeout(limit);
    // The token is sent as a subprotocol, which proxies do not log. Some characters of 3DES tokens
    // cannot be in one.
    const fits = /^[\w!#$%&'*+.^`|~-]+$/.test(text);
    const query = [!fits && text && 'auth=' + encodeURIComponent(text), positions()].filter(Boolean).join('&');
    const address = query ? url + (url.includes('?') ? '&' : '?') + query : url;
    let since = 0; // when it opened
    const end = (code, reason) => {
      if (mine !== turn) return;
      turn++;
      if (socket) socket.close();
      socket = null;
      clearTimeout(limit);
      clearTimeout(checking);
      checking = 0;
      if (live && Date.now() - since >= STEADY) tries = 0;
      lost(code, reason || '', text);
    };
    limit = setTimeout(end, TIMEOUT, 1006, 'no answer to the handshake');
    try {
      socket = dial(Socket, mini, address, fits ? [VERSION, REFUSED, text] : [VERSION, REFUSED], {
        open(isRefused) {
          if (mine !== turn || isRefused) return; // the code follows
          clearTimeout(limit);
          since = heardAt = Date.now();
          live = true;
          failures = 0;
          refused = undefined;
          set('open', { connections: ++connections });
          own.emit('open');
          flush();
        },
        message(data) { if (mine === turn) receive(data); },
        close: end,
        alive() { if (mine === turn) heardAt = Date.now(); },
      });
      socket.end = end;
    } catch (e) { // such as ws: in a page of https:
      clearTimeout(limit);
      limit = setTimeout(end, 0, 1006, e.message);
    }
  }

  function again(mine, code, reason) {
    if (mine !== turn) return;
    turn++;
    clearTimeout(limit);
    lost(code, reason);
  }

  /** Decides what follows the end of a connection or of a try. */
  function lost(code, reason, text) {
    const [when, meaning = ''] = CLOSE[code] || [];
    if (!live) failures++;
    const what = { code, reason, meaning, failures };
    live = false;
    const ends = when === 'never';
    for (const call of [...calls.values()]) call.lost(ends, what);
    if (ends) { closed = true; unwatch(); set('closed', what); }
    else if (when === 'token') { refused = text; unauthorized(code, reason); }
    else if (when === 'now' && !tries) wait(0, what);
    else wait(when === 'later' ? 10000 + Math.random() * 10000 : growing(), what);
    own.emit('close', code, reason, failures);
  }

  /** Returns a pause with full jitter. The first one spreads the clients of a lost server. */
  const growing = () => Math.random() * Math.min(LONGEST, SPREAD * 2 ** Math.min(tries, 3));

  function wait(ms, what) {
    tries++;
    retryAt = Date.now() + ms;
    retry = setTimeout(open, ms);
    if (what) set(offline ? 'offline' : 'waiting', { ...what, next: retryAt });
  }

  function unauthorized(code, reason) {
    turn++;
    const asks = typeof token === 'function';
    if (asks) wait(growing());
    set('unauthorized', { code, reason, meaning: CLOSE[4401][1], ...(asks && { next: retryAt }) });
  }

  /** Brings the next try forward to ms from now, unless it is within the limit. */
  function sooner(ms, within) {
    if (!retry || retryAt <= Date.now() + within) return;
    clearTimeout(retry);
    tries--;
    const { next, ...what } = detail;
    wait(ms, state === 'unauthorized' ? undefined : what);
  }

  // --- the truth about the link

  /** Asks the server for a sign of life. Unless quiet, the state says so until it has come. */
  function check(quiet) {
    if (!live || checking && (quiet || state === 'probing')) return;
    clearTimeout(checking);
    if (!quiet) set('probing');
    askedAt = Date.now();
    socket.send('2');
    verdict(PROBE, quiet);
  }

  function verdict(ms, quiet) {
    const mine = turn;
    checking = setTimeout(() => {
      checking = 0;
      if (mine !== turn) return;
      // The server answers in order: behind an action that takes its time, so does the answer.
      if (ms < TIMEOUT && !quiet && [...calls.values()].some((call) => call.sent)) verdict(TIMEOUT);
      else if (quiet) check();
      else socket.end(1006, 'no answer to the probe');
    }, ms);
  }

  function wake(tick) {
    if (closed) return;
    if (tick) { // only a look at the clock
      if (live && Date.now() - heardAt >= (Socket || !mini ? QUIET : QUIET_MINI) && !hidden()) check(true);
      return;
    }
    if (live) check();
    else if (socket) { clearTimeout(limit); limit = setTimeout(socket.end, PROBE, 1006, 'no answer to the handshake'); }
    else sooner(0, 200);
  }

  function online(is) {
    if (closed) return;
    offline = !is;
    if (live || socket) wake();
    else if (is) { sooner(Math.random() * SPREAD, SPREAD); if (state === 'offline') set('waiting', detail); }
    else if (state === 'waiting') set('offline', detail);
  }

  function receive(data) {
    heardAt = Date.now();
    const probing = state === 'probing';
    if (checking && (!probing || data === '3' || heardAt - askedAt > FRESH)) {
      clearTimeout(checking);
      checking = 0;
      if (probing) { set('open', { connections }); flush(); }
    }
    if (typeof data !== 'string' || data[0] !== '{') return; // the answer to a heartbeat
    const frame = JSON.parse(data), { event, param } = frame;
    if (frame.id !== undefined) { // pushes have none
      if (calls.has(frame.id)) calls.get(frame.id).answer(frame); // else nobody waits for it any more
      return;
    }
    if (frame.room && frame.offset) { take(frame); return; }
    if (event === 'sysRecovered') { caughtUp(param, false); return; }
    if (event === 'sysPosition') {
      const r = rooms.get(param.room);
      if (!r || r.epoch !== param.epoch) settle(param.room, param.epoch, param.offset);
    }
    deliver(frame);
  }

  function deliver(frame) {
    const { event, param } = frame;
    const room = frame.room || param && /^(sys[A-Z]\w*|roomJoin|roomLeave)$/.test(event) && param.room;
    server.emit(event, param, frame);
    if (listeners.has(room)) listeners.get(room).emit(event, param, frame);
  }

  // --- rooms

  /** Returns the positions for the query of the next connection: room:epoch:offset,… */
  function positions() {
    let list = '';
    for (const [room, { epoch, offset }] of [...rooms].reverse()) {
      const one = (list && ',') + room + ':' + epoch + ':' + offset;
      if (encodeURIComponent(list + one).length > RECOVER) break;
      list += one;
    }
    return list && 'recover=' + encodeURIComponent(list);
  }

  /**
   * Sets the position of a room: everything up to it has arrived or is lost. While gap is true,
   * pushes may be missing behind it, and later ones are held.
   */
  function settle(room, epoch, offset) {
    const r = rooms.get(room) || { held: [], gap: false };
    rooms.delete(room); // it becomes the newest
    if (epoch) rooms.set(room, Object.assign(r, { epoch, offset }));
  }

  const known = (r, { epoch, offset }) => r && epoch === r.epoch && offset <= r.offset;

  function pass(frame) {
    if (known(rooms.get(frame.room), frame)) return;
    settle(frame.room, frame.epoch, frame.offset);
    deliver(frame);
  }

  function take(frame) {
    const { room, epoch, offset } = frame, r = rooms.get(room);
    if (!r || !r.gap || epoch === r.epoch && offset <= r.offset + 1) {
      pass(frame);
      for (let next; r && (next = r.held.findIndex((f) => f.epoch === r.epoch && f.offset <= r.offset + 1)) >= 0;) pass(r.held.splice(next, 1)[0]);
      return;
    }
    if (r.held.push(frame) > HELD) caughtUp({ room, recovered: false, reason: 'tooMany', epoch: r.epoch, offset: r.offset }, false);
  }

  /** Delivers what was held, in order. */
  function release(r) {
    const list = r.held.sort((a, b) => (b.epoch === r.epoch) - (a.epoch === r.epoch) || (a.epoch === b.epoch ? a.offset - b.offset : 0));
    r.held = [];
    list.forEach(pass);
  }

  /** Applies the result of a recovery. asked: it is a reply, which comes after the missed pushes. */
  function caughtUp(result, asked, tried = 0) {
    const { room, recovered, pending, reason, epoch, offset } = result, r = rooms.get(room);
    if (pending) return;
    if (reason === 'unavailable' || reason === 'tooOften') {
      if (!r) return;
      r.gap = true;
      const mine = turn;
      setTimeout(() => {
        if (closed || turn !== mine || rooms.get(room) !== r || !r.gap) return;
        client.call('sys.recover', { room, epoch: r.epoch, offset: r.offset }).then(
          ({ param }) => caughtUp(param[0], true, tried + 1), () => { if (mine === turn) caughtUp({ room, reason }, true, tried + 1); });
      }, Math.min(LONGEST, 1000 * 2 ** Math.min(tried, 4)));
      return;
    }
    if (r) r.gap = false;
    if (!recovered) settle(room, epoch, offset); // later pushes arrive live
    else if (r && !asked) r.held = []; // they come again
    else if (r) release(r);
    deliver({ status: 200, event: 'sysRecovered', info: '', param: result });
    if (r && !recovered) release(r);
  }

  const room = (name) => {
    if (!listeners.has(name)) listeners.set(name, emitter());
    return {
      ...listeners.get(name).api,
      name,
      get position() { const r = rooms.get(name); return r && { epoch: r.epoch, offset: r.offset }; },
      history: (page, options) => client.call('sys.history', { ...page, room: name }, options).then(({ param }) => param),
      saw(epoch, offset) {
        const r = rooms.get(name);
        settle(name, epoch, r && r.epoch === epoch ? Math.max(offset, r.offset) : offset);
      },
      forget() { rooms.delete(name); },
    };
  };

  // --- calls

  const ready = () => live && state === 'open';

  function flush() {
    for (const call of [...calls.values()]) if (ready()) call.send();
  }

  function request(method, data, id, { timeout = TIMEOUT, signal, idempotent, queue = true }) {
    return new Promise((resolve, reject) => {
      const aborted = () => signal.reason || failure('aborted', 'aborted');
      if (signal && signal.aborted) { reject(aborted()); return; }
      if (closed) { reject(failure('closed', 'closed', detail)); return; }
      if (!ready()) {
        if (!queue) { reject(failure('offline', 'not connected', detail)); return; }
        if ([...calls.values()].filter((call) => !call.sent).length >= QUEUE) { reject(failure('full', 'not connected, and too many calls wait')); return; }
      }
      const text = JSON.stringify({ ...data, method, id }); // later changes of data have no effect
      const done = (settled, value) => {
        calls.delete(id);
        clearTimeout(late);
        if (signal) signal.removeEventListener('abort', stop);
        settled(value);
      };
      const stop = () => done(reject, aborted());
      const call = {
        sent: false,
        send() {
          if (call.sent) return;
          call.sent = true;
          socket.send(text);
        },
        lost(ends, what) {
          if (call.sent && idempotent && !ends) call.sent = false; // sent again by the next connection
          else if (call.sent) done(reject, failure('lost', `connection lost (${what.code}${what.reason && ' ' + what.reason})`, what));
          else if (ends) done(reject, failure('closed', 'closed', what));
        },
        answer: (frame) => frame.status === 200 ? done(resolve, frame) :
          done(reject, failure('reply', frame.info, { frame, status: frame.status, event: frame.event, info: frame.info, param: frame.param })),
      };
      const late = setTimeout(() => {
        const { sent } = call;
        done(reject, failure('timeout', sent ? 'no answer' : 'not connected', sent ? {} : detail));
        if (sent) check();
      }, timeout);
      if (signal) signal.addEventListener('abort', stop);
      calls.set(id, call);
      if (ready()) call.send();
    });
  }

  const client = {
    get state() { return state; },
    get detail() { return detail; },
    /**
     * Calls a method. If data has an id, the reply contains it; calls with the same id run one
     * after the other.
     */
    call(method, data, options = {}) {
      const id = data && data.id !== undefined ? data.id : 'c' + nextId++;
      const before = calls.get(id);
      if (before) return before.settled.then(() => client.call(method, data, options));
      const answer = request(method, data, id, options);
      if (calls.has(id)) calls.get(id).settled = answer.catch(() => {});
      return answer;
    },
    /** Events of the server, whatever their names. */
    server: server.api,
    room,
    /** Asks whether the link works, for pages that know that they were away (onShow). */
    probe: () => wake(),
    /** Sets the token for the next tries. */
    setToken(next) {
      token = next;
      refused = undefined;
      if (state === 'unauthorized') open();
    },
    /** Connects again after the state closed. Positions are kept. */
    open() {
      if (!closed) return;
      closed = false;
      tries = failures = 0;
      offline = !mini && typeof navigator === 'object' && navigator.onLine === false;
      unwatch = watch(mini, Socket, wake, online);
      open();
    },
    /** Ends the connection for good. */
    close(code = 1000) {
      if (closed) return;
      closed = true;
      unwatch();
      turn++;
      for (const timer of [retry, limit, checking]) clearTimeout(timer);
      retry = checking = 0;
      live = false;
      const what = { code, reason: '', meaning: 'closed by this client', failures: 0 };
      for (const call of [...calls.values()]) call.lost(true, what);
      if (socket) socket.close(code);
      socket = null;
      set('closed', what);
      own.emit('close', code, '', 0);
    },
  };
  // state, open and close are the client's own events; every other name is one of the server.
  const mine = (event) => /^(state|open|close)$/.test(event) ? own.api : server.api;
  for (const method of ['on', 'once', 'off']) client[method] = (event, f) => mine(event)[method](event, f);
  client.onAny = server.api.onAny;
  client.open();
  return client;
}

if (typeof globalThis === 'object') globalThis.wsframe = { connect };
export { connect };
