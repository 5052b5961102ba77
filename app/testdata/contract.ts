// Written by `console -s types`. Do not edit.

export interface Contract {
  /** Requests by method: what they take, the param of the reply, and its event. */
  methods: {
    "chat.room.join": { params: RoomIn; result: JoinOut; event: "roomJoinSuccess" };
    "chat.room.leave": { params: RoomIn; result: undefined; event: "roomLeaveSuccess" };
    "chat.room.list": { params: Record<string, never>; result: RoomOut[]; event: "roomListSuccess" };
    "chat.room.online": { params: OnlineIn; result: OnlineOut; event: "roomOnlineSuccess" };
    "chat.room.say": { params: SayIn; result: undefined; event: "roomSaySuccess" };
    "chat.user.open": { params: Record<string, never>; result: OpenOut; event: "userOpenSuccess" };
    "chat.user.say": { params: PrivateIn; result: unknown; event: string };
    "index.index": { params: Record<string, never>; result: unknown; event: string };
    "live.user.history": { params: PageIn; result: unknown; event: string };
    "live.user.join": { params: Record<string, never>; result: unknown; event: string };
    "live.user.out": { params: Record<string, never>; result: unknown; event: string };
    "live.user.say": { params: LiveSayIn; result: unknown; event: string };
    "live.wall.check": { params: CheckIn; result: unknown; event: string };
    "live.wall.clean": { params: Record<string, never>; result: unknown; event: string };
    "live.wall.history": { params: PageIn; result: unknown; event: string };
    "live.wall.join": { params: Record<string, never>; result: unknown; event: string };
    "live.wall.out": { params: Record<string, never>; result: unknown; event: string };
    "live.wall.recall": { params: IDIn; result: unknown; event: string };
    "live.wall.say": { params: LiveSayIn; result: unknown; event: string };
    "sys.answer": { params: AnswerIn; result: unknown; event: string };
    "sys.cancel": { params: CancelIn; result: undefined; event: "sysCancelSuccess" };
    "sys.clientid": { params: Record<string, never>; result: ClientIDOut; event: "sysClientId" };
    "sys.history": { params: HistoryIn; result: HistoryOut; event: "sysHistory" };
    "sys.recover": { params: RecoverIn; result: Recovery[]; event: "sysRecover" };
    "sys.resume": { params: ResumeIn; result: undefined; event: "sysResumeSuccess" };
  };
  /** Pushes by event, with their param. */
  events: {
    "privateSay": Message;
    "privateSaySuccess": undefined;
    "roomJoin": UserOut;
    "roomLeave": UserOut;
    "roomSay": Message;
    "roomViews": ViewsOut;
    "serverBroadcast": string;
    "sysPosition": PositionOut;
    "sysRecovered": Recovery;
  };
  /** Questions of the server by event: their param, and the answer that it waits for. */
  questions: {
  };
  /** Replies that report a failure, by event. */
  errors: {
    "codeIsEmpty": { status: 999 }; // code不能为空
    "controllerError": { status: 500 }; // 程序错误
    "controllerNotFound": { status: 404 }; // 您请求的控制器不存在
    "gatewayOff": { status: 404 }; // 未启用 gateway
    "historyUnavailable": { status: 503 }; // 暂时无法读取历史消息
    "insertDbError": { status: 501 }; // 保存数据至数据库失败
    "methodNotFound": { status: 405 }; // 您请求的method方法不存在
    "mustBeWall": { status: 403 }; // 仅允许大屏幕用户连入
    "mustBeWechatUser": { status: 403 }; // 仅允许微信用户连入
    "mustLogIn": { status: 403 }; // 请先登录
    "notInRoom": { status: 403 }; // 未加入该房间
    "paramError": { status: 400 }; // 参数错误
    "queueFull": { status: 503 }; // 等待审核的消息过多
    "roomError": { status: 400 }; // 房间名称不正确
    "roomNotFound": { status: 404 }; // 没有这个房间
    "sayFailed": { status: 503 }; // 发送失败，请稍后再试
    "streamNotFound": { status: 404 }; // 没有这个流
    "textEmpty": { status: 400 }; // 内容不能为空
    "toYourself": { status: 400 }; // 不能给自己发私信
    "tooManyStreams": { status: 429 }; // 进行中的流过多，请稍后再试
    "tooOften": { status: 429 }; // 请求过于频繁，请稍后再试
    "typeError": { status: 401 }; // 类型错误
    "userOffline": { status: 404 }; // 对方不在线
    "wallRecallFail": { status: 403 }; // 撤回广播失败
  };
}

export interface AnswerIn {
  ask: number;
  param?: unknown;
  error?: string; // max=200
}

export interface CancelIn {
  stream: string; // max=64
}

export interface CheckIn {
  id: string; // max=64
  status?: number;
}

export interface ClientIDOut {
  client_id: string;
}

export interface HistoryIn {
  room?: string;
  after?: number; // min=0
  before?: number; // min=0
  limit?: number; // min=0, max=100
}

export interface HistoryOut {
  room: string;
  epoch: string;
  offset: number;
  first: number;
  items: unknown[];
  times: number[];
}

export interface IDIn {
  id?: number;
}

export interface JoinOut {
  channel: string;
  room: string;
}

export interface LiveSayIn {
  say: string; // max=500
}

export interface Message {
  room?: string;
  from: Person;
  to?: string;
  text: string;
  key?: string;
  time: number;
}

export interface OnlineIn {
  room: string; // max=32
  after?: number; // min=0
  limit?: number; // min=0, max=200
}

export interface OnlineOut {
  room: string;
  total: number;
  list: Person[];
  next: number;
}

export interface OpenOut {
  channel: string;
  id: string;
  nickname: string;
}

export interface PageIn {
  type?: string;
  page?: number; // min=0, max=100000
  count?: number; // min=0
}

export interface Person {
  id: string;
  nickname: string;
}

export interface PositionOut {
  room: string;
  offset: number;
  epoch: string;
}

export interface PrivateIn {
  to: string; // max=64
  text: string; // max=500
  key?: string; // max=64
}

export interface RecoverIn {
  room?: string;
  offset?: number;
  epoch?: string;
  rooms?: RoomPosition[]; // max=32
}

export interface Recovery {
  room: string;
  recovered: boolean;
  pending?: boolean;
  offset: number;
  epoch: string;
  count: number;
  reason?: string;
}

export interface ResumeIn {
  stream: string; // max=64
  after?: number; // min=0
}

export interface RoomIn {
  room: string; // max=32
}

export interface RoomOut {
  id: string;
  title: string;
  online: number;
  views: number;
}

export interface RoomPosition {
  room?: string;
  offset?: number;
  epoch?: string;
}

export interface SayIn {
  room: string; // max=32
  text: string; // max=500
  key?: string; // max=64
}

export interface UserOut {
  room: string;
  id: string;
  nickname: string;
}

export interface ViewsOut {
  room: string;
  views: number;
}
