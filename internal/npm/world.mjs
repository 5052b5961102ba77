// A world for tests of the client: its clock, its sockets and its chance are simulated.
import { readFileSync } from 'node:fs';
import vm from 'node:vm';
import { classic, sourceFile } from './build.mjs';

const script = new vm.Script(classic(readFileSync(sourceFile, 'utf8')));

/**
 * Loads the client anew. advance() lets time pass, sockets holds what it dialled. random gives its
 * chance; more is set in its global object.
 */
export function world({ random = () => 1, ...more } = {}) {
  let now = 0, timers = new Map(), last = 0;
  const set = (f, ms = 0, every, args) => { timers.set(++last, { at: now + ms, n: last, f, every: every && ms, args }); return last; };
  const clear = (id) => timers.delete(id);
  const sockets = [], errors = [], listeners = new Map();
  const target = (name) => ({
    addEventListener(event, f) { listeners.set(name + event, (listeners.get(name + event) || new Set()).add(f)); },
    removeEventListener(event, f) { listeners.get(name + event).delete(f); },
  });
  class Socket {
    constructor(url, protocols) { Object.assign(this, { url, protocols, sent: [], at: now, protocol: protocols[0] }); sockets.push(this); }
    send(text) { this.sent.push(text); }
    close(code) { this.shut = code || true; }
    open() { this.onopen(); }
    text(data) { if (this.onmessage) this.onmessage({ data }); }
    push(frame) { this.text(JSON.stringify(frame)); }
    end(code, reason = '') { if (this.onclose) this.onclose({ code, reason }); }
    get calls() { return this.sent.filter((t) => t !== '2').map((t) => JSON.parse(t)); }
    get beats() { return this.sent.filter((t) => t === '2').length; }
    answer(n, more) { const { id } = this.calls.at(n); this.push({ status: 200, event: 'done', info: '', id, ...more }); }
    refuse(code, reason = '') { this.protocol = 'wsframe.refused'; this.open(); this.end(code, reason); }
  }
  const document = { hidden: false, ...target('document.') }, navigator = { onLine: true, connection: target('connection.') };
  const sandbox = {
    WebSocket: Socket, document, navigator, ...target(''),
    Date: { now: () => now }, Math: Object.assign(Object.create(Math, Object.getOwnPropertyDescriptors(Math)), { random }),
    setTimeout: (f, ms, ...args) => set(f, ms, false, args), setInterval: (f, ms, ...args) => set(f, ms, true, args), clearTimeout: clear, clearInterval: clear,
    console: { error: (e) => errors.push(e) }, encodeURIComponent, ...more,
  };
  sandbox.globalThis = sandbox;
  script.runInNewContext(sandbox);
  const settled = async () => { for (let i = 0; i < 20; i++) await null; };
  const fire = (name, e) => { for (const f of [...(listeners.get(name) || [])]) f(e); };
  return {
    sockets, errors, settled, fire, document, navigator, sandbox,
    connect: (options) => sandbox.wsframe.connect({ url: 'ws://server/', ...options }),
    get now() { return now; },
    get timers() { return timers.size; },
    get listening() { return [...listeners.values()].reduce((n, l) => n + l.size, 0); },
    get socket() { return sockets.at(-1); },
    hide() { document.hidden = true; fire('document.visibilitychange'); },
    show() { document.hidden = false; fire('document.visibilitychange'); },
    /** Lets time pass in which no timer runs, as in a machine that sleeps. */
    sleep(ms) { now += ms; },
    async advance(ms) {
      await settled();
      for (const end = now + ms; ;) {
        let next;
        for (const [id, t] of timers) if (!next || t.at < next[1].at || t.at === next[1].at && t.n < next[1].n) next = [id, t];
        if (!next || next[1].at > end) { now = Math.max(now, end); break; }
        const [id, t] = next;
        now = Math.max(now, t.at);
        if (t.every) t.at = now + t.every; else timers.delete(id);
        t.f(...t.args);
        await settled();
      }
      await settled();
    },
  };
}

export const outcome = (promise) => { const o = {}; promise.then((v) => { o.value = v; }, (e) => { o.error = e; }); return o; };

/** Returns the positions that a socket's address has. */
export const positions = (s) => { const m = /recover=([^&]*)/.exec(s.url); return m ? decodeURIComponent(m[1]) : undefined; };
