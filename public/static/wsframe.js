/**
 * wsframe client for browsers, WeChat mini programs and uni-app: one connection that stays, requests with answers, events. No
 * dependencies. As a plain <script>, or by import './wsframe.js', it defines globalThis.wsframe; require('./wsframe.js') gives the same.
 *
 *   const ws = wsframe.connect({ url: 'ws://127.0.0.1:20000/', token });
 *   ws.on('userSayBroadcast', (param) => …);
 *   ws.on('open', () => ws.call('live.user.join'));
 *   const reply = await ws.call('live.user.say', { say: 'hi' });   // {status, event, info, param}; rejects when not 200
 *
 * Events: 'open' and 'close' of on() are the client's own, every other name is the server's. ws.server.on() takes any event of the server,
 * also those that are named open and close. Neither ever runs listeners of the other.
 *
 * A call waits for the connection that is being made, and for its answer, 10 s together. One that was sent when the connection ended is rejected
 * at once, with code and reason of the close in the error.
 *
 * It sends the heartbeat and notices when nothing answers it. After a loss it comes back, until close(): after 0.5 to 15 s with jitter, later and
 * later until a connection has lived for 30 s; at once when the server asks for it (1012) or the network returns. The table CLOSE below says what
 * else follows from a close code. Browsers do not tell a page why a handshake failed: 'close' carries how many attempts in a row never opened, so
 * that a page can say that its token may be too old. A mini program that comes to the foreground finds out at once whether its connection still lives.
 *
 * Of rooms with history it remembers what came last, from the join on, and says so when it comes back: the server then sends what was missed,
 * once it has joined again, and before that the event sysRecovered. Nothing comes twice. docs/protocol.md, "History and recovery".
 */
(function (global) {
  'use strict';

  const HEARTBEAT = 25000; // ms; the server closes what is silent for 60 s
  const CALL_TIMEOUT = 10000; // ms
  const AWAKE = 3000; // ms, for the server to show that it is still there when a mini program comes back
  const LONGEST_WAIT = 15000; // ms between two attempts
  const STEADY = 30000; // ms that a connection lives until the next attempt is the first one again
  const QUEUE = 100; // calls that wait for a connection
  const RECOVER_LENGTH = 4000; // characters of the query at most; the server takes 8 KiB with everything

  // What follows from a close code; from any other, and from 1006 of a broken line, come back later and later. docs/protocol.md, "Close codes".
  const CLOSE = {
    1012: 'now', // the server restarts
    4009: 'never', // logged in elsewhere
    4010: 'later', // connected already: by a line that the server has yet to find dead, or by another page
    4011: 'never', // kicked
  };

  // The mini program's API, WeChat's own or uni-app's; null in browsers. (A web page in WeChat has a wx, too, without sockets.)
  const mini = [typeof wx === 'object' && wx, typeof uni === 'object' && uni].find((api) => api && api.connectSocket) || null;

  /** Opens the platform's socket. Of on's functions close is called once, and nothing after it. */
  function dial(url, protocols, on) {
    if (!mini || typeof WebSocket === 'function') {
      const ws = new WebSocket(url, protocols);
      ws.onopen = on.open;
      ws.onmessage = (e) => on.message(e.data);
      ws.onclose = (e) => on.close(e.code, e.reason);
      return {
        send: (text) => ws.send(text),
        close(code) { ws.onopen = ws.onmessage = ws.onclose = null; ws.close(code); }, // without effect where it is closed
      };
    }
    let over = false;
    const end = (code, reason) => { if (!over) { over = true; on.close(code || 1006, reason || ''); } };
    const task = mini.connectSocket({ url, protocols, fail: (e) => setTimeout(end, 0, 1006, e && e.errMsg), complete() {} });
    task.onOpen(() => { if (!over) on.open(); });
    task.onMessage((e) => { if (!over) on.message(e.data); });
    task.onClose((e) => end(e && e.code, e && e.reason));
    task.onError((e) => end(1006, e && e.errMsg));
    return {
      send: (data) => task.send({ data, fail: (e) => end(1006, e && e.errMsg) }),
      close(code = 1000) { over = true; task.close({ code, fail() {} }); },
    };
  }

  /** Calls back when the network returns, and awake when a mini program comes to the foreground; returns what ends that. */
  function watch(back, awake) {
    if (!mini || typeof addEventListener === 'function') {
      addEventListener('online', back);
      return () => removeEventListener('online', back);
    }
    const network = (e) => { if (e.isConnected) back(); };
    if (mini.onNetworkStatusChange) mini.onNetworkStatusChange(network);
    if (mini.onAppShow) mini.onAppShow(awake);
    return () => {
      if (mini.offNetworkStatusChange) mini.offNetworkStatusChange(network);
      if (mini.offAppShow) mini.offAppShow(awake);
    };
  }

  /** Events and who listens to them. */
  function emitter() {
    const listeners = new Map(); // event → Set of functions
    return {
      on(event, f) {
        if (!listeners.has(event)) listeners.set(event, new Set());
        listeners.get(event).add(f);
        return () => listeners.get(event).delete(f);
      },
      emit(event, ...args) {
        for (const f of [...(listeners.get(event) || [])]) {
          try { f(...args); } catch (e) { console.error(e); } // one listener's fault is not the others'
        }
      },
    };
  }

  const failure = (why, code, reason) => Object.assign(new Error(why), { code, reason });

  /** Opens a connection: {url, token}. Throws where the url is none. */
  function connect({ url, token }) {
    if (!/^wss?:\/\/[^/]/.test(url)) throw new Error('not the address of a WebSocket: ' + url);
    // The token travels as a subprotocol, which proxies do not log. Not all of the original's tokens can.
    const protocols = /^w1\.[\w-]+$/.test(token || '') ? ['wsframe', token] : [];
    const query = !protocols.length && token ? 'auth=' + encodeURIComponent(token) : '';
    const address = (recover) => {
      const parts = [query, recover && 'recover=' + encodeURIComponent(recover)].filter(Boolean).join('&');
      return parts ? url + (url.includes('?') ? '&' : '?') + parts : url;
    };

    const own = emitter(), server = emitter();
    const waiting = new Map(); // request id → its call
    // room → {epoch, offset}: everything up to there has come. Where it is not known what was missed, gap is true, and ahead {from, to} is what came
    // beyond it. The room that was quiet longest is the first.
    const seen = new Map();
    let socket = null, live = false, nextId = 1, failures = 0, tries = 0, heard = true, beat = 0, timer = 0, closed = false;

    /** Asks for a sign of life; a server that has not answered the last time is gone. */
    function ask(end) {
      if (!heard) { end(1006, 'no answer to the heartbeat'); return; }
      heard = false;
      socket.send('2');
    }

    function open() {
      clearTimeout(timer);
      timer = 0;
      let since = 0; // when it opened
      const s = socket = dial(address(recoverable()), protocols, {
        open() {
          live = heard = true;
          failures = 0;
          since = Date.now();
          beat = setInterval(ask, HEARTBEAT, end);
          own.emit('open');
          for (const call of [...waiting.values()]) call.send();
        },
        message(data) { heard = true; receive(data); },
        close: end,
      });
      s.end = end;

      function end(code, reason) {
        if (socket !== s || closed) return;
        s.close();
        socket = null;
        clearInterval(beat);
        if (!live) failures++;
        if (live && Date.now() - since >= STEADY) tries = 0;
        live = false;
        closed = CLOSE[code] === 'never';
        for (const call of [...waiting.values()]) {
          if (call.sent || closed) call.fail(`connection lost (${code}${reason && ' ' + reason})`, code, reason);
        }
        if (!closed) timer = setTimeout(open, pause(code) * (0.5 + Math.random() / 2) + Math.random() * 200);
        own.emit('close', code, reason, failures);
      }
    }

    /** The time until the next attempt, in ms. */
    function pause(code) {
      const first = !tries++;
      if (CLOSE[code] === 'now' && first) return 0;
      if (CLOSE[code] === 'later') return LONGEST_WAIT;
      return Math.min(LONGEST_WAIT, 500 * 2 ** Math.min(tries - 1, 5));
    }

    /** What is said in the query of the next connection: room:epoch:offset,… */
    function recoverable() {
      let list = '';
      for (const [room, { epoch, offset }] of [...seen].reverse()) {
        const one = (list && ',') + room + ':' + epoch + ':' + offset;
        if (encodeURIComponent(list + one).length > RECOVER_LENGTH) break;
        list += one;
      }
      return list;
    }

    /** Remembers a push of a room, and tells whether it is new. */
    function fresh({ room, epoch, offset }) {
      let p = seen.get(room);
      if (!p || p.epoch !== epoch) p = { epoch, offset: offset - 1 };
      const { ahead } = p;
      if (offset <= p.offset || ahead && offset >= ahead.from && offset <= ahead.to) return false;
      if (ahead && offset > ahead.to) ahead.to = offset;
      else if (p.gap && !ahead && offset > p.offset + 1) p.ahead = { from: offset, to: offset };
      else p.offset = offset;
      if (ahead && p.offset + 1 >= ahead.from) { p.offset = ahead.to; p.ahead = null; p.gap = false; }
      seen.delete(room);
      seen.set(room, p);
      return true;
    }

    /** Everything of a room up to there is settled. */
    function settle(room, epoch, offset) {
      seen.delete(room);
      if (epoch) seen.set(room, { epoch, offset });
    }

    function saw(room, epoch, offset) {
      const p = seen.get(room);
      settle(room, epoch, p && p.epoch === epoch ? Math.max(offset, p.offset, p.ahead ? p.ahead.to : 0) : offset);
    }

    /** Takes what a recovery came to. Where nothing is known yet, the position stays, and the server is asked again. */
    function caughtUp(r, told, tried = 0) {
      const { room, recovered, pending, reason, epoch, offset } = r, p = seen.get(room);
      if (pending) return;
      if (reason === 'unavailable' || reason === 'tooOften') {
        if (!p) return;
        p.gap = true;
        const s = socket;
        setTimeout(() => {
          if (closed || socket !== s || seen.get(room) !== p || !p.gap) return;
          client.call('sys.recover', { room, epoch: p.epoch, offset: p.offset }).then(
            ({ param }) => caughtUp(param[0], true, tried + 1), () => caughtUp({ room, reason }, true, tried + 1));
        }, Math.min(LONGEST_WAIT, 1000 * 2 ** Math.min(tried, 4)));
        return;
      }
      if (!recovered) settle(room, epoch, offset); // from there on it comes live
      else if (p && p.gap) {
        p.gap = !!p.ahead && !told; // an answer comes behind what was missed, the event before it
        if (told && p.ahead) { p.offset = p.ahead.to; p.ahead = null; }
      }
      if (told) server.emit('sysRecovered', r);
    }

    function receive(data) {
      if (data === '3') return;
      const frame = JSON.parse(data), { event, param } = frame;
      if (frame.offset && !fresh(frame)) return;
      const call = frame.id !== undefined && waiting.get(frame.id);
      if (call) { call.answer(frame); return; }
      if (event === 'sysRecovered') caughtUp(param, false);
      if (event === 'sysPosition') {
        const p = seen.get(param.room);
        if (!p || p.epoch !== param.epoch) settle(param.room, param.epoch, param.offset);
      }
      server.emit(event, param, frame);
    }

    function request(method, data, id) {
      return new Promise((resolve, reject) => {
        if (closed) { reject(failure('closed')); return; }
        if (!live && waiting.size >= QUEUE) { reject(failure('not connected, and too many calls wait')); return; }
        const text = JSON.stringify({ ...data, method, id }); // as it is now
        const done = (settle, value) => { waiting.delete(id); clearTimeout(limit); settle(value); };
        const call = {
          sent: false,
          send() {
            if (call.sent || !live) return;
            call.sent = true;
            socket.send(text);
          },
          fail: (why, code, reason) => done(reject, failure(why, code, reason)),
          answer: (frame) => frame.status === 200 ? done(resolve, frame) : done(reject, Object.assign(new Error(frame.info), { frame })),
        };
        const limit = setTimeout(() => call.fail(call.sent ? 'no answer' : 'not connected'), CALL_TIMEOUT);
        waiting.set(id, call);
        call.send();
      });
    }

    const client = {
      /** Calls a method. Where data has an id of its own, the answer carries that; calls with the same id go one after the other. */
      call(method, data) {
        const id = data && data.id !== undefined ? data.id : 'c' + nextId++;
        const before = waiting.get(id);
        if (!before) {
          const answer = request(method, data, id);
          if (waiting.has(id)) waiting.get(id).settled = answer.catch(() => {});
          return answer;
        }
        return before.settled.then(() => client.call(method, data));
      },
      /** Listens to the client's own open and close(code, reason, failures), or to any other event of the server; returns a function that stops it. */
      on: (event, f) => (event === 'open' || event === 'close' ? own : server).on(event, f),
      /** Listens to events of the server, whatever their names: ws.server.on(event, (param, frame) => …). */
      server: { on: server.on },
      /** Says what the page has got of a room otherwise, by sys.history. */
      saw,
      /** Has a room that was left no longer recovered. */
      forget(room) { seen.delete(room); },
      /** Ends the connection for good. */
      close() {
        closed = true;
        clearTimeout(timer);
        clearInterval(beat);
        unwatch();
        for (const call of [...waiting.values()]) call.fail('closed');
        if (!socket) return;
        socket.close(1000);
        live = false;
        own.emit('close', 1000, '', 0);
      },
    };
    const back = () => { if (timer) open(); };
    const unwatch = watch(back, () => {
      if (!live) { back(); return; }
      const s = socket;
      ask(s.end);
      setTimeout(() => { if (socket === s && !heard) s.end(1006, 'no answer to the heartbeat'); }, AWAKE);
    });
    open();
    return client;
  }

  global.wsframe = { connect };
  if (typeof module === 'object' && module.exports) module.exports = global.wsframe;
})(typeof globalThis === 'object' ? globalThis : this);
