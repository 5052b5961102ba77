// A WebSocket client (RFC 6455) for Node, of which version 20 has none. It has the part of the
// browsers' interface that wsframe uses, and onping. Messages are text; nothing is compressed.
'use strict';
const { createHash, randomBytes } = require('node:crypto');
const http = require('node:http');
const https = require('node:https');

const MAX = 64 << 20; // bytes of a message
const LINGER = 3000; // ms that a closed socket waits for the peer's close

class WebSocket {
  onopen = null;
  onmessage = null;
  onclose = null;
  onerror = null;
  onping = null;
  protocol = '';
  readyState = 0; // 0 connecting, 1 open, 2 closing, 3 closed
  #socket = null;
  #buffer = Buffer.alloc(0);
  #parts = []; // of a fragmented message
  #size = 0;
  #request;
  #timer;

  constructor(url, protocols = []) {
    const key = randomBytes(16).toString('base64');
    const offered = [].concat(protocols);
    const { request } = url.startsWith('wss:') ? https : http;
    this.#request = request(url.replace(/^ws/, 'http'), {
      headers: {
        Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': key,
        ...(offered.length && { 'Sec-WebSocket-Protocol': offered.join(', ') }),
      },
    });
    this.#request.on('error', (e) => this.#end(1006, e.message));
    this.#request.on('response', (r) => { r.resume(); this.#request.destroy(); this.#end(1006, 'HTTP ' + r.statusCode); });
    this.#request.on('upgrade', (r, socket, head) => {
      const accept = createHash('sha1').update(key + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
      this.protocol = r.headers['sec-websocket-protocol'] || '';
      const fits = r.headers['sec-websocket-accept'] === accept && (!this.protocol || offered.includes(this.protocol)) && !r.headers['sec-websocket-extensions'];
      if (this.readyState || !fits) { socket.destroy(); this.#end(1006, 'the handshake was not valid'); return; }
      this.#socket = socket;
      this.readyState = 1;
      socket.setNoDelay(true);
      socket.setTimeout(0);
      socket.on('error', (e) => this.#end(1006, e.message));
      socket.on('close', () => this.#end(1006, ''));
      socket.on('end', () => socket.end());
      if (this.onopen) this.onopen({});
      this.#data(head);
      socket.on('data', (data) => this.#data(data));
    });
    this.#request.end();
  }

  send(text) {
    if (this.readyState === 0) throw new Error('still connecting');
    if (this.readyState === 1) this.#write(1, Buffer.from(String(text)));
  }

  close(code = 1000, reason = '') {
    if (this.readyState > 1) return;
    if (this.readyState === 0) { this.#request.destroy(); this.#end(1006, 'closed'); return; }
    this.#close(Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]));
  }

  #close(payload) {
    if (this.readyState !== 1) return;
    this.#write(8, payload);
    this.readyState = 2;
    this.#timer = setTimeout(() => this.#socket.destroy(), LINGER);
  }

  #end(code, reason) {
    if (this.readyState === 3) return;
    this.readyState = 3;
    clearTimeout(this.#timer);
    if (this.#socket) this.#socket.destroy();
    if (this.onerror && code === 1006) this.onerror({ message: reason });
    if (this.onclose) this.onclose({ code, reason, wasClean: code !== 1006 });
  }

  #write(op, payload) {
    const n = payload.length, mask = randomBytes(4);
    const head = n < 126 ? Buffer.from([128 | op, 128 | n]) : n < 65536 ? Buffer.alloc(4) : Buffer.alloc(10);
    if (n >= 126) { head[0] = 128 | op; head[1] = 128 | (n < 65536 ? 126 : 127); }
    if (n >= 65536) head.writeBigUInt64BE(BigInt(n), 2);
    else if (n >= 126) head.writeUInt16BE(n, 2);
    const body = Buffer.from(payload);
    for (let i = 0; i < n; i++) body[i] ^= mask[i & 3];
    this.#socket.write(Buffer.concat([head, mask, body]));
  }

  #data(data) {
    this.#buffer = this.#buffer.length ? Buffer.concat([this.#buffer, data]) : data;
    while (this.readyState < 3) {
      const b = this.#buffer;
      if (b.length < 2) return;
      const short = b[1] & 127, head = short < 126 ? 2 : short === 126 ? 4 : 10;
      if (b.length < head) return;
      const n = short < 126 ? short : short === 126 ? b.readUInt16BE(2) : Number(b.readBigUInt64BE(2));
      const op = b[0] & 15, last = b[0] >= 128;
      if (b[0] & 112 || b[1] & 128 || op > 7 && (n > 125 || !last)) { this.#fail(1002); return; }
      if (n + this.#size > MAX) { this.#fail(1009); return; }
      if (b.length < head + n) return;
      this.#buffer = b.subarray(head + n);
      this.#frame(op, last, b.subarray(head, head + n));
    }
  }

  #frame(op, last, payload) {
    if (op === 8) {
      const code = payload.length > 1 ? payload.readUInt16BE(0) : 1005;
      this.#close(payload.subarray(0, 2));
      this.#end(code, payload.subarray(2).toString());
    } else if (op === 9) {
      if (this.readyState === 1) this.#write(10, payload);
      if (this.onping) this.onping({});
    } else if (op < 3 && (op === 0) === this.#parts.length > 0) {
      this.#parts.push(Buffer.from(payload));
      this.#size += payload.length;
      if (!last) return;
      let text;
      try { text = new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(this.#parts)); } catch { this.#fail(1007); return; }
      this.#parts = [];
      this.#size = 0;
      if (this.onmessage && this.readyState === 1) this.onmessage({ data: text });
    } else if (op !== 10) this.#fail(1002);
  }

  #fail(code) {
    this.#close(Buffer.from([code >> 8, code & 255]));
    this.#end(code, 'a frame of the server was not valid');
  }
}

module.exports = WebSocket;
