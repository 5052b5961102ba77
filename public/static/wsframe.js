/**
 * The wsframe client for browsers, WeChat mini programs and uni-app keeps one connection open,
 * makes requests and delivers events. It has no dependencies. A plain <script>, or import
 * './wsframe.js', defines globalThis.wsframe; require('./wsframe.js') returns the same object.
 *
 *   const ws = wsframe.connect({ url: 'ws://127.0.0.1:20000/', token });
 *   ws.on('userSayBroadcast', (param) => …);
 *   ws.on('open', () => ws.call('live.user.join'));
 *   const reply = await ws.call('live.user.say', { say: 'hi' });   // {status, event, info, param}; rejects when not 200
 *
 * Events: with on(), 'open' and 'close' are events of the client itself, and every other name is an
 * event of the server. ws.server.on() receives any event of the server, including those named open
 * and close. The two kinds of listeners are separate.
 *
 * Calls: a call waits at most 10 s in total, for a connection that is being made and for the reply.
 * If the connection ends after the call was sent, the call is rejected at once, with the code and
 * reason of the close in the error.
 *
 * Reconnects: the client sends heartbeats and detects when they are not answered. After a loss it
 * reconnects until close() is called, after 0.5 to 15 s with jitter; the pause grows until a
 * connection has lasted for 30 s. It reconnects at once if the server asks for it (1012) or the
 * network returns. The table CLOSE below lists other close codes. Browsers do not reveal why a
 * handshake failed, so 'close' carries the number of failed attempts in a row, and a page can say
 * that its token may have expired. When a mini program comes to the foreground, the client checks
 * at once whether its connection still works.
 *
 * Recovery: for rooms with history, the client remembers the last push from the join on, and sends
 * that position when it reconnects. After the page has joined again, the server sends the event
 * sysRecovered and then the missed pushes. Nothing arrives twice. See docs/protocol.md, "History
 * and recovery".
 */
(function (global) {
  'use strict';

  const HEARTBEAT = 25000; // ms; the server closes a connection that is silent for 60 s
  const CALL_TIMEOUT = 10000; // ms
  const AWAKE = 3000; // ms for the server to answer when a mini program comes to the foreground
  const LONGEST_WAIT = 15000; // ms between two attempts
  const STEADY = 30000; // ms; a connection that lasted so long resets the growing pause
  const QUEUE = 100; // calls that wait for a connection
  const RECOVER_LENGTH = 4000; // greatest length of the query in characters; the server accepts a request head of 8 KiB

  // When to reconnect after a close code. After any other code, and after 1006 of a broken network,
  // the pause grows with each attempt. See docs/protocol.md, "Close codes".
  const CLOSE = {
    1012: 'now', // the server restarts
    4009: 'never', // logged in elsewhere
    4010: 'later', // connected already, by another page or by a connection whose loss the server has not detected yet
    4011: 'never', // kicked
  };

  // The API of a mini program, from WeChat or uni-app; null in browsers. A web page in WeChat also
  // has a wx, but without sockets.
  const mini = [typeof wx === 'object' && wx, typeof uni === 'object' && uni].find((api) => api && api.connectSocket) || null;

  /**
   * Opens a socket of the platform. on.close is called once, and no other function of on after it.
   */
  function dial(url, protocols, on) {
    if (!mini || typeof WebSocket === 'function') {
      const ws = new WebSocket(url, protocols);
      ws.onopen = on.open;
      ws.onmessage = (e) => on.message(e.data);
      ws.onclose = (e) => on.close(e.code, e.reason);
      return {
        send: (text) => ws.send(text),
        close(code) { ws.onopen = ws.onmessage = ws.onclose = null; ws.close(code); }, // no effect on a closed socket
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

  /**
   * Calls back when the network returns, and awake when a mini program comes to the foreground.
   * Returns a function that stops both.
   */
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

  /** Creates a registry of events and their listeners. */
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
          try { f(...args); } catch (e) { console.error(e); } // the other listeners still run
        }
      },
    };
  }

  const failure = (why, code, reason) => Object.assign(new Error(why), { code, reason });

  /** Opens a connection: {url, token}. Throws if the url is not valid. */
  function connect({ url, token }) {
    if (!/^wss?:\/\/[^/]/.test(url)) throw new Error('not the address of a WebSocket: ' + url);
    // The token is sent as a subprotocol, which proxies do not log. Some 3DES tokens contain
    // characters that a subprotocol cannot have.
    const protocols = /^w1\.[\w-]+$/.test(token || '') ? ['wsframe', token] : [];
    const query = !protocols.length && token ? 'auth=' + encodeURIComponent(token) : '';
    const address = (recover) => {
      const parts = [query, recover && 'recover=' + encodeURIComponent(recover)].filter(Boolean).join('&');
      return parts ? url + (url.includes('?') ? '&' : '?') + parts : url;
    };

    const own = emitter(), server = emitter();
    const waiting = new Map(); // request id → its call
    // room → {epoch, offset}: all pushes up to the offset have arrived. While pushes before the
    // live ones may be missing, gap is true, and ahead {from, to} is the range of live pushes that
    // arrived beyond the gap. The room with the oldest push is first.
    const seen = new Map();
    let socket = null, live = false, nextId = 1, failures = 0, tries = 0, heard = true, beat = 0, timer = 0, closed = false;

    /** Sends a heartbeat. If the previous one was not answered, the connection counts as lost. */
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

    /** Returns the time until the next attempt, in ms. */
    function pause(code) {
      const first = !tries++;
      if (CLOSE[code] === 'now' && first) return 0;
      if (CLOSE[code] === 'later') return LONGEST_WAIT;
      return Math.min(LONGEST_WAIT, 500 * 2 ** Math.min(tries - 1, 5));
    }

    /** Returns the positions for the query of the next connection: room:epoch:offset,… */
    function recoverable() {
      let list = '';
      for (const [room, { epoch, offset }] of [...seen].reverse()) {
        const one = (list && ',') + room + ':' + epoch + ':' + offset;
        if (encodeURIComponent(list + one).length > RECOVER_LENGTH) break;
        list += one;
      }
      return list;
    }

    /** Records the position of a push, and returns whether the push is new. */
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

    /** Sets the position of a room: everything up to it has arrived or is lost. */
    function settle(room, epoch, offset) {
      seen.delete(room);
      if (epoch) seen.set(room, { epoch, offset });
    }

    function saw(room, epoch, offset) {
      const p = seen.get(room);
      settle(room, epoch, p && p.epoch === epoch ? Math.max(offset, p.offset, p.ahead ? p.ahead.to : 0) : offset);
    }

    /**
     * Applies the result of a recovery. If the server could not tell, the position stays, and the
     * client asks again.
     */
    function caughtUp(r, asked, tried = 0) {
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
      if (!recovered) settle(room, epoch, offset); // later pushes arrive live
      else if (p && p.gap) {
        p.gap = !!p.ahead && !asked; // a reply arrives after the missed pushes, the event before them
        if (asked && p.ahead) { p.offset = p.ahead.to; p.ahead = null; }
      }
      if (asked) server.emit('sysRecovered', r);
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
        const text = JSON.stringify({ ...data, method, id }); // later changes of data have no effect
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
      /**
       * Calls a method. If data has an id, the reply contains it; calls with the same id run one
       * after the other.
       */
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
      /**
       * Listens to the client's own open and close(code, reason, failures), or to any other event
       * of the server. Returns a function that stops it.
       */
      on: (event, f) => (event === 'open' || event === 'close' ? own : server).on(event, f),
      /**
       * Listens to events of the server, whatever their names: ws.server.on(event, (param, frame)
       * => …).
       */
      server: { on: server.on },
      /**
       * Records that the page has read a room up to an offset by other means, such as sys.history.
       */
      saw,
      /** Stops the recovery of a room that was left. */
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
