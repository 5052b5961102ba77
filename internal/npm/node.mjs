// The client for Node: wsframe.mjs with a socket that shows pings.
import { connect as plain } from './wsframe.mjs';
import WebSocket from './socket.cjs';

export const connect = (options) => plain({ WebSocket, ...options });
