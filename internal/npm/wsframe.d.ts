// Types of wsframe.js. With a contract, methods, their data and results, and events are checked:
//
//   import type { Contract } from './contract';   // console types ts
//   const ws = connect<Contract>({ url, token });
//   ws.on('userSayBroadcast', (param) => …);

/** What a server offers. `console types` generates it from the controllers. */
export interface AnyContract {
  /** method → what the request has, and the param of its reply. */
  methods: { [method: string]: { params: any; result: any } };
  /** event → the param of the push. */
  events: { [event: string]: any };
}

type Methods<C> = C extends { methods: infer M } ? M : AnyContract['methods'];
type Events<C> = C extends { events: infer E } ? E : AnyContract['events'];
type Params<M> = M extends { params: infer P } ? P : unknown;
type Result<M> = M extends { result: infer R } ? R : unknown;
/** The data of a call may be left out where nothing in it is required. */
type Data<P> = {} extends P ? [data?: P | null, options?: CallOptions] : [data: P, options?: CallOptions];

/** A reply or a push, as the server sent it. */
export interface Frame<P = unknown> {
  status: number;
  event: string;
  info: string;
  param: P;
  id?: string | number;
  /** Of a push that is kept in the history of a room: its place there. */
  room?: string;
  offset?: number;
  epoch?: string;
}

export interface CallOptions {
  /** Milliseconds for the call, waiting for a connection included. Default 10000. */
  timeout?: number;
  signal?: AbortSignal;
  /** The call may be sent again if its connection ended before the reply. */
  idempotent?: boolean;
  /** false: fails at once while there is no connection. Default true: waits, with at most 99 others. */
  queue?: boolean;
}

/** Why a call was rejected. An abort rejects with the signal's reason instead. */
export interface CallError extends Error {
  /**
   * reply: the server answered with another status than 200. lost: the connection ended after the
   * call was sent, so it may or may not have been done. timeout: no reply in time. offline: no
   * connection, and queue was false. full: too many calls wait. closed: the state is closed.
   */
  kind: 'reply' | 'lost' | 'timeout' | 'offline' | 'full' | 'closed' | 'aborted';
  /** Of a reply. */
  frame?: Frame;
  status?: number;
  event?: string;
  info?: string;
  param?: unknown;
  /** Of the close of the connection: code, reason, and what the code means. */
  code?: number;
  reason?: string;
  meaning?: string;
}

/**
 * connecting: a try is under way. open: calls are sent. probing: connected, and it is being found
 * out whether that is still true. waiting: for the next try. offline: waiting, and the platform has
 * no network. unauthorized: the server does not accept the token. closed: for good.
 */
export type State = 'connecting' | 'open' | 'probing' | 'waiting' | 'offline' | 'unauthorized' | 'closed';

export interface StateDetail {
  /** Time of the next try, as Date.now() tells it. */
  next?: number;
  /** Close code and reason of what ended, and what the code means. */
  code?: number;
  reason?: string;
  meaning?: string;
  /** Tries in a row that did not succeed. */
  failures?: number;
  /** While open: the number of this connection. */
  connections?: number;
}

export type Off = () => void;

export interface Listeners<E> {
  /** Returns a function that stops it. */
  on<K extends keyof E & string>(event: K, f: (param: E[K], frame: Frame<E[K]>) => void): Off;
  once<K extends keyof E & string>(event: K, f: (param: E[K], frame: Frame<E[K]>) => void): Off;
  /** Without f: all listeners of the event. */
  off<K extends keyof E & string>(event: K, f?: (param: E[K], frame: Frame<E[K]>) => void): void;
  onAny(f: (event: string, param: unknown, frame: Frame) => void): Off;
}

export interface OwnEvents {
  state: (state: State, detail: StateDetail) => void;
  /** After each connection, before the calls that wait. */
  open: () => void;
  close: (code: number, reason: string, failures: number) => void;
}

export interface Position {
  epoch: string;
  offset: number;
}

/** sysRecovered: what came of a recovery. */
export interface Recovered extends Position {
  room: string;
  recovered: boolean;
  /** Number of missed pushes that follow, or have arrived. */
  count?: number;
  /** Why it is not complete: epoch, future, gone, tooMany. */
  reason?: string;
}

/** Events of the protocol itself. */
export interface SystemEvents {
  sysRecovered: Recovered;
  sysPosition: Position & { room: string };
  roomJoin: { room: string; id: string; nickname: string };
  roomLeave: { room: string; id: string; nickname: string };
  serverBroadcast: string;
}

export interface HistoryPage extends Position {
  room: string;
  /** Oldest offset that the server has. */
  first: number;
  items: Frame<any>[];
  /** Times of the items, in ms since 1970. */
  times: number[];
}

export interface Room<E> extends Listeners<E> {
  readonly name: string;
  /** Everything up to it has arrived. */
  readonly position: Position | undefined;
  history(page?: { before?: number; after?: number; limit?: number }, options?: CallOptions): Promise<HistoryPage>;
  /** Records that everything up to the offset was read by other means, such as history. */
  saw(epoch: string, offset: number): void;
  /** Stops the recovery of a room that was left. */
  forget(): void;
}

type Server<C> = Events<C> & Omit<SystemEvents, keyof Events<C>>;
type Listener<C, K> = K extends keyof OwnEvents ? OwnEvents[K]
  : K extends keyof Server<C> ? (param: Server<C>[K], frame: Frame<Server<C>[K]>) => void : never;
type Names<C> = (keyof OwnEvents | keyof Server<C>) & string;

export interface Client<C = AnyContract> {
  readonly state: State;
  readonly detail: StateDetail;
  /** Resolves with the reply if its status is 200, and rejects with a CallError otherwise. */
  call<M extends keyof Methods<C> & string>(method: M, ...args: Data<Params<Methods<C>[M]>>): Promise<Frame<Result<Methods<C>[M]>>>;
  /** state, open and close are the client's own events; every other name is an event of the server. */
  on<K extends Names<C>>(event: K, f: Listener<C, K>): Off;
  once<K extends Names<C>>(event: K, f: Listener<C, K>): Off;
  off<K extends Names<C>>(event: K, f?: Listener<C, K>): void;
  onAny(f: (event: string, param: unknown, frame: Frame) => void): Off;
  /** Events of the server, whatever their names. */
  readonly server: Listeners<Server<C>>;
  /** A room: its kept pushes, presence and recovery. */
  room(name: string): Room<Server<C>>;
  /** Finds out whether the link works, for pages that know that they were away (onShow). */
  probe(): void;
  /** Sets the token for the next tries. */
  setToken(token: Token): void;
  /** Connects again after the state closed. Positions are kept. */
  open(): void;
  /** Ends the connection for good. */
  close(code?: number): void;
}

export type Token = string | undefined | (() => string | undefined | Promise<string | undefined>);

export interface Options {
  /** ws: or wss:, host and path. */
  url: string;
  /** A function is asked before each try. */
  token?: Token;
  /** The class of sockets, where the platform has none. */
  WebSocket?: new (url: string, protocols: string[]) => any;
}

/** Opens a connection, which is kept until close(). Throws if the url is not valid. */
export function connect<C = AnyContract>(options: Options): Client<C>;
