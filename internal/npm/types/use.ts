// Uses of the types, compiled by tsc --strict. Each @ts-expect-error fails if the line is accepted.
import { connect, type CallError, type Client, type State } from 'wsframe';
import type { Contract, Message } from './contract';

const ws: Client<Contract> = connect<Contract>({ url: 'ws://x/', token: async () => 'x' });

export async function typed(): Promise<string> {
  await ws.call('live.user.join');
  await ws.call('live.user.history', {}, { idempotent: true });
  const { param } = await ws.call('live.user.say', { say: 'hi' }, { timeout: 5000, signal: new AbortController().signal, queue: false });
  const list: Message[] = (await ws.call('live.user.history', { count: 3 })).param;
  // @ts-expect-error no such method
  await ws.call('live.user.sya', { say: 'hi' });
  // @ts-expect-error the data is missing
  await ws.call('live.user.say');
  // @ts-expect-error the data is wrong
  await ws.call('live.user.say', { say: 1 });
  // @ts-expect-error no such option
  await ws.call('live.user.say', { say: 'hi' }, { timeOut: 1 });
  const n: string = param;
  // @ts-expect-error the result is a text
  const m: number = param;
  return n + m + list.length;
}

ws.on('userSayBroadcast', (message, frame) => { const s: string = message.say, offset: number | undefined = frame.offset; console.log(s, offset); });
ws.on('state', (state: State, { next, meaning }) => console.log(state, next, meaning));
ws.on('close', (code: number, reason: string, failures: number) => console.log(code, reason, failures));
ws.once('open', () => ws.off('userSayBroadcast'));
ws.server.onAny((event, param, frame) => console.log(event, param, frame.status));
ws.room('CHAT_lobby').on('sysRecovered', ({ recovered, offset }) => console.log(recovered && offset));
// @ts-expect-error no such event
ws.on('userSayBroadcasts', () => {});
// @ts-expect-error the param is a message
ws.on('userSayBroadcast', (message: number) => console.log(message));

// Without a contract every method and event is accepted.
const any = connect({ url: 'ws://x/', token: 'x' });
any.on('whatever', (param) => console.log(param.x));
any.on('state', (state) => console.log(state === 'open'));
any.call('a.b', { c: 1 }).then(({ param }) => console.log(param.d), (e: CallError) => console.log(e.kind, e.code));
any.call('a.b');
