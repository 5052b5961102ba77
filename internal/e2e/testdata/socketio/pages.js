// Pages of web-msg-sender without a browser, all in one process. Each line of the input is a command,
// each line of the output an event: {"id": …, "event": …, "args": […]}.
'use strict';

const pages = new Map();
const say = (id, event, ...args) => console.log(JSON.stringify({ id, event, args }));

const commands = {
  // Opens a page, which does what the pages of web-msg-sender do.
  open({ id, version, url, options, uid }) {
    const client = require('socket.io-client-' + version);
    const socket = (client.io || client)(url, { forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 300, ...options });
    pages.set(id, socket);
    socket.on('connect', () => {
      say(id, 'connect', socket.io.engine.transport.name);
      socket.io.engine.on('upgrade', (transport) => say(id, 'upgrade', transport.name));
      if (uid !== null) socket.emit('login', uid);
    });
    socket.on('new_msg', (...args) => say(id, 'new_msg', ...args));
    socket.on('update_online_count', (...args) => say(id, 'update_online_count', ...args));
    socket.on('message', (...args) => say(id, 'message', ...args));
    socket.on('disconnect', (reason) => say(id, 'disconnect', reason));
    socket.on('connect_error', (error) => say(id, 'connect_error', String(error.message || error)));
    socket.on('error', (error) => say(id, 'error', String(error.message || error)));
  },
  emit: ({ id, args }) => pages.get(id).emit(...args),
  close: ({ id }) => pages.get(id).close(),
  // The transport that a page has now.
  ask: ({ id }) => say(id, 'transport', pages.get(id).io.engine.transport.name),
};

require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const command = JSON.parse(line);
  commands[command.do](command);
});
process.stdin.on('end', () => process.exit(0));
