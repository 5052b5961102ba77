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
 */
(function (global) {
  'use strict';

  const HEARTBEAT = 25000; // ms; the server closes what is silent for 60 s
  const CALL_TIMEOUT = 10000; // ms
  const LONGEST_WAIT = 15000; // ms between two attempts

  /** Opens a connection: {url, token}. Throws where the url is none. */
  function connect({ url, token }) {
    const address = new URL(url);
    // The token travels as a subprotocol, which proxies do not log. Not all of the original's tokens can.
    const protocols = /^w1\.[\w-]+$/.test(token || '') ? ['wsframe', token] : [];
    if (!protocols.length && token) address.searchParams.set('auth', token);

    const listeners = new Map(); // event → Set of functions
    const waiting = new Map(); // request id → its call
    let socket = null, nextId = 1, failures = 0, heard = true, beat = 0, timer = 0, closed = false;

    function emit(event, ...args) {
      for (const f of [...(listeners.get(event) || [])]) {
        try { f(...args); } catch (e) { console.error(e); } // one listener's fault is not the others'
      }
    }

    function open() {
      clearTimeout(timer);
      timer = 0;
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
        if (!closed) {
          const wait = code === 1012 ? 0 : Math.min(LONGEST_WAIT, 500 * 2 ** failures);
          timer = setTimeout(open, wait * (0.5 + Math.random() / 2) + Math.random() * 200);
        }
        emit('close', code, reason, failures);
      }
    }

    function receive(data) {
      if (data === '3') return;
      const frame = JSON.parse(data);
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
