/**
 * wsframe client for browsers: one connection that stays, requests with answers, events. No dependencies; as a plain
 * <script>, or by import './wsframe.js', it defines globalThis.wsframe.
 *
 *   const ws = wsframe.connect({ url: 'ws://127.0.0.1:20000/', token });
 *   ws.on('userSayBroadcast', (param) => …);
 *   ws.on('open', () => ws.call('live.user.join'));
 *   const reply = await ws.call('live.user.say', { say: 'hi' });   // {status, event, info, param}; rejects when not 200
 *
 * It sends the heartbeat and notices when nothing answers it. After a loss it comes back: at once when the server asks for it
 * (1012) or the network returns, else after 0.5 to 15 s with jitter, until close(). Browsers do not tell a page why a
 * handshake failed: 'close' carries how many attempts in a row never opened, so that a page can say that its token may be too old.
 * It stays away when the server says that it must: 4009 logged in elsewhere, 4010 connected already, 4011 kicked.
 *
 * Of rooms with history it remembers what came last, and says so when it comes back: the server then sends what was missed, once it
 * has joined again, and before that the event sysRecovered. Nothing comes twice. docs/protocol.md, "History and recovery".
 */
(function (global) {
  'use strict';

  const HEARTBEAT = 25000; // ms; the server closes what is silent for 60 s
  const CALL_TIMEOUT = 10000; // ms
  const LONGEST_WAIT = 15000; // ms between two attempts
  const STAY_AWAY = [4009, 4010, 4011]; // close codes
  const RECOVER_LENGTH = 4000; // characters of the query at most; the server takes 8 KiB with everything

  /** Opens a connection: {url, token}. Throws where the url is none. */
  function connect({ url, token }) {
    const address = new URL(url);
    // The token travels as a subprotocol, which proxies do not log. Not all of the original's tokens can.
    const protocols = /^w1\.[\w-]+$/.test(token || '') ? ['wsframe', token] : [];
    if (!protocols.length && token) address.searchParams.set('auth', token);

    const listeners = new Map(); // event → Set of functions
    const waiting = new Map(); // request id → its call
    const seen = new Map(); // room → {epoch, offset} of what came last, the room that was quiet longest first
    let socket = null, nextId = 1, failures = 0, heard = true, beat = 0, timer = 0, closed = false;

    function emit(event, ...args) {
      for (const f of [...(listeners.get(event) || [])]) {
        try { f(...args); } catch (e) { console.error(e); } // one listener's fault is not the others'
      }
    }

    function open() {
      clearTimeout(timer);
      timer = 0;
      address.searchParams.delete('recover');
      const back = recoverable();
      if (back) address.searchParams.set('recover', back);
      const s = socket = new WebSocket(address, protocols);
      let opened = false;
      s.onopen = () => {
        opened = true;
        failures = 0;
        heard = true;
        beat = setInterval(() => {
          if (!heard) { end(1006, 'no answer to the heartbeat'); return; }
          heard = false;
          s.send('2');
        }, HEARTBEAT);
        emit('open');
      };
      s.onmessage = (e) => { heard = true; receive(e.data); };
      s.onclose = (e) => end(e.code, e.reason);

      function end(code, reason) {
        s.onopen = s.onmessage = s.onclose = null;
        s.close(); // without effect where it is closed
        clearInterval(beat);
        if (!opened) failures++;
        for (const call of [...waiting.values()]) call.fail('connection lost');
        closed ||= STAY_AWAY.includes(code);
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
        if (!socket || socket.readyState !== WebSocket.OPEN) { reject(new Error('not connected')); return; }
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
        removeEventListener('online', back);
        if (socket) socket.close(1000);
      },
    };
    const back = () => { if (timer) open(); };
    addEventListener('online', back);
    open();
    return client;
  }

  global.wsframe = { connect };
})(globalThis);
