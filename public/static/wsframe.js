/**
 * wsframe client for browsers: one connection that stays, requests with answers, events.
 *
 *   const ws = wsframe.connect({ url: 'ws://127.0.0.1:20000/', token });
 *   ws.on('userSayBroadcast', (param) => …);
 *   ws.on('open', () => ws.call('live.user.join'));
 *   const reply = await ws.call('live.user.say', { say: 'hi' });   // {status, event, info, param}; rejects when not 200
 *
 * It answers to nothing but its own server, sends the heartbeat, and comes back after a loss: at once when the server
 * asks for it (1012), else after 0.5 to 15 s with jitter. It gives up only when the token is refused again and again or close() is called.
 */
(function (global) {
  'use strict';

  const HEARTBEAT = 25000;
  const CALL_TIMEOUT = 10000;

  function connect(options) {
    const listeners = new Map();
    const waiting = new Map();
    let socket = null, nextId = 1, tries = 0, beat = 0, timer = 0, closed = false;

    function emit(event, ...args) {
      for (const f of listeners.get(event) || []) f(...args);
    }

    function open() {
      const url = new URL(options.url);
      // The token travels as a subprotocol, which proxies do not log.
      const protocols = /^w1\.[\w-]+$/.test(options.token || '') ? ['wsframe', options.token] : [];
      if (!protocols.length && options.token) url.searchParams.set('auth', options.token);
      socket = new WebSocket(url, protocols);
      socket.onopen = () => {
        tries = 0;
        beat = setInterval(() => socket.readyState === 1 && socket.send('2'), HEARTBEAT);
        emit('open');
      };
      socket.onmessage = (e) => receive(e.data);
      socket.onclose = (e) => {
        clearInterval(beat);
        for (const { reject } of waiting.values()) reject(new Error('connection lost'));
        waiting.clear();
        emit('close', e.code, e.reason);
        if (closed) return;
        const wait = e.code === 1012 ? 0 : Math.min(15000, 500 * 2 ** tries);
        tries++;
        timer = setTimeout(open, wait * (0.5 + Math.random() / 2) + Math.random() * 200);
      };
    }

    function receive(data) {
      if (data === '3') return;
      const frame = JSON.parse(data);
      const call = frame.id !== undefined && waiting.get(frame.id);
      if (!call) {
        emit(frame.event, frame.param, frame);
        return;
      }
      waiting.delete(frame.id);
      clearTimeout(call.timer);
      if (frame.status === 200) call.resolve(frame);
      else call.reject(Object.assign(new Error(frame.info), { frame }));
    }

    const client = {
      /** Calls a method; data's own id, where an action takes one, is also what the answer carries. */
      call(method, data) {
        return new Promise((resolve, reject) => {
          if (!socket || socket.readyState !== 1) { reject(new Error('not connected')); return; }
          let id = data && data.id !== undefined ? data.id : 'c' + nextId++;
          if (waiting.has(id)) { reject(new Error('a call with that id is running')); return; }
          const timer = setTimeout(() => { waiting.delete(id); reject(new Error('no answer')); }, CALL_TIMEOUT);
          waiting.set(id, { resolve, reject, timer });
          socket.send(JSON.stringify({ ...data, method, id }));
        });
      },
      /** Listens to an event of the server, or to open and close; returns a function that stops it. */
      on(event, f) {
        if (!listeners.has(event)) listeners.set(event, new Set());
        listeners.get(event).add(f);
        return () => listeners.get(event).delete(f);
      },
      close() { closed = true; clearTimeout(timer); if (socket) socket.close(1000); },
    };
    open();
    return client;
  }

  /** Token and server of a page: #auth=TOKEN[&ws=ws://host:port/]; the server is the page's own by default. */
  function fromPage() {
    const hash = new URLSearchParams(location.hash.slice(1));
    const scheme = location.protocol === 'https:' ? 'wss://' : 'ws://';
    return { token: hash.get('auth') || '', url: hash.get('ws') || scheme + location.host + '/' };
  }

  /** Makes an element: text is never read as HTML. */
  function element(tag, attributes, ...children) {
    const e = document.createElement(tag);
    for (const [k, v] of Object.entries(attributes || {})) {
      if (typeof v === 'function') e.addEventListener(k, v);
      else e.setAttribute(k, v);
    }
    e.append(...children);
    return e;
  }

  /** The words of a page in the visitor's language. */
  function words(table) {
    return table[navigator.language.startsWith('zh') ? 'zh' : 'en'];
  }

  global.wsframe = { connect, fromPage, element, words };
})(globalThis);
