// A line between a client and a server that can be cut, held, delayed, half-closed and refused.
import net from 'node:net';

export class Line {
  pairs = new Set();
  tries = 0;
  refuses = false;
  holds = false;
  delay = 0;

  constructor(host, port) {
    this.server = net.createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
      this.tries++;
      near.on('error', () => {});
      if (this.refuses) { near.resetAndDestroy(); return; }
      const far = net.connect({ host, port, allowHalfOpen: true, noDelay: true }), pair = { near, far };
      this.pairs.add(pair);
      const gone = () => { this.pairs.delete(pair); near.destroy(); far.destroy(); };
      const pass = (from, to) => {
        const queue = []; // delayed data, which nothing overtakes
        const run = () => {
          queue.shift()();
          if (queue.length) setTimeout(run, this.delay);
        };
        const later = (f) => {
          if (this.holds) return;
          if (queue.push(f) === 1) setTimeout(run, this.delay);
        };
        from.on('data', (data) => later(() => to.write(data)));
        from.on('end', () => later(() => to.end()));
        from.on('error', gone);
        from.on('close', () => later(gone));
      };
      pass(near, far);
      pass(far, near);
    });
  }

  async listen() {
    await new Promise((done) => this.server.listen(0, '127.0.0.1', done));
    this.port = this.server.address().port;
    return this;
  }

  /** Resets all connections. */
  cut() { for (const { near, far } of [...this.pairs]) { near.resetAndDestroy(); far.destroy(); } this.pairs.clear(); }

  /** Ends what the clients receive, while they may still send. */
  halfClose() { for (const { near } of this.pairs) near.end(); }

  /** Lets nothing through, as a dead network does. */
  hold() { this.holds = true; }

  /** Works again for new connections; those of before are gone without a word. */
  release() { this.holds = false; for (const { far, near } of [...this.pairs]) { far.destroy(); near.removeAllListeners('data'); } this.pairs.clear(); }

  close() { this.cut(); this.server.close(); }
}
