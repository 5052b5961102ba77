// A client of the sample application, compiled against its contract and the types of the client
// library. A field that is renamed on the server breaks this program at compile time.
import { connect } from './wsframe';
import type { Contract, Message } from './contract';

const ws = connect<Contract>({ url: 'ws://localhost:20000/' });

ws.on('roomSay', (m) => {
  const line: string = `${m.from.nickname}: ${m.text} (${new Date(m.time).toISOString()})`;
  console.log(line, m.room?.toUpperCase());
});

async function main(): Promise<Message[]> {
  const { param: me } = await ws.call('chat.user.open');
  console.log(me.id, me.nickname, me.channel);
  const { param: rooms } = await ws.call('chat.room.list');
  for (const room of rooms) console.log(room.id, room.title, room.online + room.views);
  await ws.call('chat.room.join', { room: 'lobby' });
  await ws.call('chat.room.say', { room: 'lobby', text: 'hi', key: 'k1' });
  const { param: online } = await ws.call('chat.room.online', { room: 'lobby', after: 0 });
  console.log(online.total, online.list.map((p) => p.nickname));
  const failure: keyof Contract['errors'] = 'roomNotFound';
  const status: 404 = 404 satisfies Contract['errors'][typeof failure]['status'];
  console.log(status);
  return [];
}

void main();
