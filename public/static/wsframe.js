/**
 * wsframe client for browsers, WeChat mini programs and uni-app: one connection that stays, requests with answers, events. No
 * dependencies. As a plain <script>, or by import './wsframe.js', it defines globalThis.wsframe; require('./wsframe.js') gives the same.
 *
 *   const ws = wsframe.connect({ url: 'ws://127.0.0.1:20000/', token });
 *   ws.on('userSayBroadcast', (param) => …);
 *   ws.on('open', () => ws.call('live.user.join'));
 *   const reply = await ws.call('live.user.say', { say: 'hi' });   // {status, event, info, param}; rejects when not 200
 *
 * It sends the heartbeat and notices when nothing answers it. After a loss it comes back: at once when the server asks for it
 * (1012) or the network returns, else after 0.5 to 15 s with jitter, until close(). Browsers do not tell a page why a
 * handshake failed: 'close' carries how many attempts in a row never opened, so that a page can say that its token may be too old.
 * A mini program that comes to the foreground finds out at once whether its connection still lives.
 * It stays away when the server says that it must: 4009 logged in elsewhere, 4010 connected already, 4011 kicked.
 *
 * Of rooms with history it remembers what came last, and says so when it comes back: the server then sends what was missed, once it
 * has joined again, and before that the event sysRecovered. Nothing comes twice. docs/protocol.md, "History and recovery".
 */
(function (global) {
  'use strict';

  const HEARTBEAT = 25000; // ms; the server closes what is silent for 60 s
  const CALL_TIMEOUT = 10000; // ms
  const AWAKE = 3000; // ms, for the server to show that it is still there when a mini program comes back
  const LONGEST_WAIT = 15000; // ms between two attempts
  const STAY_AWAY = [4009, 4010, 4011]; // close codes
  const RECOVER_LENGTH = 4000; // characters of the query at most; the server takes 8 KiB with everything

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

    const listeners = new Map(); // event → Set of functions
    const waiting = new Map(); // request id → its call
    const seen = new Map(); // room → {epoch, offset} of what came last, the room that was quiet longest first
    let socket = null, live = false, nextId = 1, failures = 0, heard = true, beat = 0, timer = 0, closed = false;

    function emit(event, ...args) {
      for (const f of [...(listeners.get(event) || [])]) {
        try { f(...args); } catch (e) { console.error(e); } // one listener's fault is not the others'
      }
    }

    /** Asks for a sign of life; a server that has not answered the last time is gone. */
    function ask(end) {
      if (!heard) { end(1006, 'no answer to the heartbeat'); return; }
      heard = false;
      socket.send('2');
    }

    function open() {
      clearTimeout(timer);
      timer = 0;
      const s = socket = dial(address(recoverable()), protocols, {
        open() {
          live = heard = true;
          failures = 0;
          beat = setInterval(ask, HEARTBEAT, end);
          emit('open');
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
        live = false;
        for (const call of [...waiting.values()]) call.fail('connection lost');
        closed = STAY_AWAY.includes(code);
        if (!closed) {
          const wait = code === 1012 ? 0 : Math.min(LONGEST_WAIT, 500 * 2 ** failures);
          timer = setTimeout(open, wait * (0.5 + Math.random() / 2) + Math.random() * 200);
        }
        emit('close', code, reason, failures);
      }
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

    /** Remembers what came last of a room, and tells whether it is new. */
    function saw(room, epoch, offset) {
      const last = seen.get(room);
      if (last && last.epoch === epoch && last.offset >= offset) return false;
      seen.delete(room);
      if (epoch) seen.set(room, { epoch, offset });
      return true;
    }

    function receive(data) {
      if (data === '3') return;
      const frame = JSON.parse(data);
      if (frame.offset && !saw(frame.room, frame.epoch, frame.offset)) return;
      if (frame.event === 'sysRecovered' && !frame.param.recovered) { // from there on it comes live
        seen.delete(frame.param.room);
        saw(frame.param.room, frame.param.epoch, frame.param.offset);
      }
      const call = frame.id !== undefined && waiting.get(frame.id);
      if (call) call.answer(frame);
      else emit(frame.event, frame.param, frame);
    }

    function request(method, data, id) {
      return new Promise((resolve, reject) => {
        if (!live) { reject(new Error('not connected')); return; }
        const done = (settle, value) => { waiting.delete(id); clearTimeout(limit); settle(value); };
        const call = {
          fail: (why) => done(reject, new Error(why)),
          answer: (frame) => frame.status === 200 ? done(resolve, frame) : done(reject, Object.assign(new Error(frame.info), { frame })),
        };
        const limit = setTimeout(call.fail, CALL_TIMEOUT, 'no answer');
        waiting.set(id, call);
        socket.send(JSON.stringify({ ...data, method, id }));
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
      /** Listens to an event of the server, or to open and close(code, reason, failures); returns a function that stops it. */
      on(event, f) {
        if (!listeners.has(event)) listeners.set(event, new Set());
        listeners.get(event).add(f);
        return () => listeners.get(event).delete(f);
      },
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
        if (!socket) return;
        socket.close(1000);
        live = false;
        for (const call of [...waiting.values()]) call.fail('closed');
        emit('close', 1000, '', 0);
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
