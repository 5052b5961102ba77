// Written by `console -s types`. Do not edit.

export interface Contract {
  /** Requests by method. `in` is what they take, `out` the param of the reply, `event` its event. */
  actions: {
    "chat.room.join": { in: RoomIn; out: JoinOut; event: "roomJoinSuccess" };
    "chat.room.leave": { in: RoomIn; out: undefined; event: "roomLeaveSuccess" };
    "chat.room.list": { in: Record<string, never>; out: RoomOut[]; event: "roomListSuccess" };
    "chat.room.online": { in: OnlineIn; out: OnlineOut; event: "roomOnlineSuccess" };
    "chat.room.say": { in: SayIn; out: undefined; event: "roomSaySuccess" };
    "chat.user.open": { in: Record<string, never>; out: OpenOut; event: "userOpenSuccess" };
    "chat.user.say": { in: PrivateIn; out: unknown; event: string };
    "index.index": { in: Record<string, never>; out: unknown; event: string };
    "live.user.history": { in: PageIn; out: unknown; event: string };
    "live.user.join": { in: Record<string, never>; out: unknown; event: string };
    "live.user.out": { in: Record<string, never>; out: unknown; event: string };
    "live.user.say": { in: LiveSayIn; out: unknown; event: string };
    "live.wall.check": { in: CheckIn; out: unknown; event: string };
    "live.wall.clean": { in: Record<string, never>; out: unknown; event: string };
    "live.wall.history": { in: PageIn; out: unknown; event: string };
    "live.wall.join": { in: Record<string, never>; out: unknown; event: string };
    "live.wall.out": { in: Record<string, never>; out: unknown; event: string };
    "live.wall.recall": { in: IDIn; out: unknown; event: string };
    "live.wall.say": { in: LiveSayIn; out: unknown; event: string };
    "sys.clientid": { in: Record<string, never>; out: ClientIDOut; event: "sysClientId" };
    "sys.history": { in: HistoryIn; out: HistoryOut; event: "sysHistory" };
    "sys.recover": { in: RecoverIn; out: Recovery[]; event: "sysRecover" };
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
    "textEmpty": { status: 400 }; // 内容不能为空
    "toYourself": { status: 400 }; // 不能给自己发私信
    "tooOften": { status: 429 }; // 请求过于频繁，请稍后再试
    "typeError": { status: 401 }; // 类型错误
    "userOffline": { status: 404 }; // 对方不在线
    "wallRecallFail": { status: 403 }; // 撤回广播失败
  };
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
