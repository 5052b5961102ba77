// The client for Node: wsframe.cjs with a socket that shows pings.
'use strict';
const plain = require('./wsframe.cjs');
const WebSocket = require('./socket.cjs');

exports.connect = (options) => plain.connect({ WebSocket, ...options });
