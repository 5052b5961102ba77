// The snippet of docs/client.md.
import { connect } from 'wsframe';
import type { Contract } from './contract';

declare const token: string;
declare function show(text: string): void;
export async function snippet(): Promise<string> {
const ws = connect<Contract>({ url: 'wss://example.com/', token });
const { param } = await ws.call('live.user.say', { say: 'hi' });
ws.on('userSayBroadcast', (message) => show(message.say));
return param;
}
