// A contract as `console types ts` writes it.
export interface UserSay {
  say: string;
}

export interface Message {
  id: string;
  nickname: string;
  say: string;
}

export interface Contract {
  methods: {
    'live.user.join': { params: {}; result: null };
    'live.user.say': { params: UserSay; result: string };
    'live.user.history': { params: { count?: number }; result: Message[] };
  };
  events: {
    userSayBroadcast: Message;
    wallSayRecall: string;
  };
}
