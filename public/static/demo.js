/** The shared code of the demo pages: translations, elements, and the state of the connection. */
(function (global) {
  'use strict';

  const table = {
    zh: {
      wallTitle: '现场大屏幕', userTitle: '现场互动', wall: '大屏幕', open: '已连接', closed: '正在连接…', probing: '正在检查连接…', offline: '没有网络', refused: '无法连接', unauthorized: '链接已过期', ended: '服务器已断开此连接', elsewhere: '该用户已在别处连接，稍后重试',
      noToken: '这个页面需要令牌', noTokenHelp: '请使用服务启动时打印的链接，或者在首页粘贴令牌。', home: '打开首页',
      review: '等待审核', clean: '清空', approve: '通过', drop: '拒绝', recall: '撤回', none: '没有等待审核的消息', firstMessage: '等待第一条消息',
      firstHelp: '手机发送的消息通过审核后会出现在这里', sayWall: '对所有人说…', broadcast: '广播', sayUser: '说点什么…', send: '发送',
      waiting: '等待审核', recalled: '大屏幕撤回了一条消息', failed: '没有发送：', lost: '网络连接中断', welcome: '发送消息，审核通过后所有人都能看到',
      lead: '服务运行正常。演示有三个页面，每个页面需要一个令牌：', wallText: '展示消息、审核用户消息、广播与撤回', userText: '在手机上发送消息，接收弹幕',
      chatTitle: '聊天', chatText: '房间、私信、在线列表，断线重连不丢消息',
      paste: '粘贴令牌', go: '打开', printed: '启动服务时会打印带令牌的链接。用下面的命令可以签发新的令牌：',
    },
    en: {
      wallTitle: 'Live wall', userTitle: 'Live room', wall: 'Wall', open: 'Connected', closed: 'Connecting…', probing: 'Checking the connection…', offline: 'No network', refused: 'Cannot connect', unauthorized: 'The link has expired', ended: 'The server has ended this connection', elsewhere: 'This user is connected elsewhere; trying again later',
      noToken: 'This page needs a token', noTokenHelp: 'Use the link that the server printed at its start, or paste a token on the front page.', home: 'Front page',
      review: 'To review', clean: 'Clear', approve: 'Approve', drop: 'Drop', recall: 'Take back', none: 'Nothing to review', firstMessage: 'Waiting for the first message',
      firstHelp: 'What phones send appears here once it is approved', sayWall: 'Say something to everybody…', broadcast: 'Broadcast', sayUser: 'Say something…', send: 'Send',
      waiting: 'Waiting for review', recalled: 'The wall took a message back', failed: 'Not sent: ', lost: 'the connection was lost', welcome: 'Say something: everybody sees it once it is approved',
      lead: 'The server works. The demo has three pages, and each needs a token:', wallText: 'Shows messages, reviews what users say, broadcasts, takes back', userText: 'Sends messages from the phone, receives the barrage',
      chatTitle: 'Chat', chatText: 'Rooms, private messages, who is online; nothing is lost when the network is',
      paste: 'Paste a token', go: 'Open', printed: 'The server prints links with tokens at its start. This makes another token:',
    },
  };

  // The token follows the #, which browsers do not send to the server:
  // #auth=TOKEN[&ws=wss://host/][&lang=en].
  const hash = new URLSearchParams(location.hash.slice(1));
  const lang = (hash.get('lang') || navigator.language).startsWith('zh') ? 'zh' : 'en';
  const t = table[lang];
  document.documentElement.lang = lang;

  function server() {
    const own = (location.protocol === 'https:' ? 'wss://' : 'ws://') + location.host + '/';
    try {
      const other = new URL(hash.get('ws'));
      return /^wss?:$/.test(other.protocol) ? other.href : own;
    } catch { return own; }
  }

  const $ = (id) => document.getElementById(id);

  /** Creates an element. Text is never interpreted as HTML. */
  function element(tag, attributes, ...children) {
    const e = document.createElement(tag);
    for (const [k, v] of Object.entries(attributes || {})) {
      if (typeof v === 'function') e.addEventListener(k, v);
      else e.setAttribute(k, v);
    }
    e.append(...children);
    return e;
  }

  /**
   * Creates a round picture with the first character of a name, in a colour derived from the name.
   */
  function avatar(name) {
    const text = String(name || '?');
    let n = 0;
    for (const c of text) n = (n * 31 + c.codePointAt(0)) % 8;
    return element('span', { class: 'avatar hue' + n, 'aria-hidden': 'true' }, [...text][0].toUpperCase());
  }

  /** Returns the text of an error for the user: the server's info if there was a reply. */
  const reason = (e) => e.frame ? e.message : t.lost;

  /**
   * Connects with the page's token, updates #state and #send, and calls ready after each
   * connection.
   */
  function join(ready) {
    if (!hash.get('auth')) {
      document.body.replaceChildren(element('main', { class: 'front' },
        element('h1', {}, t.noToken), element('p', {}, t.noTokenHelp), element('a', { class: 'button', href: './' }, t.home)));
      return null;
    }
    const ws = wsframe.connect({ url: server(), token: hash.get('auth') });
    const state = (kind, text) => {
      $('state').className = 'state ' + kind;
      $('state').textContent = text;
      $('send').disabled = kind !== 'open';
    };
    state('', t.closed);
    let connection = 0;
    // Errors of the server or the network are retried with a growing pause. A refusal is final.
    const enter = (own, wait) => ready().then(() => own === connection && show(() => state('open', t.open))).catch((e) => {
      if (own !== connection) return;
      show(() => state('bad', reason(e)));
      if (!e.frame || e.frame.status >= 500) setTimeout(() => own === connection && enter(own, Math.min(wait * 2, 15000)), wait);
    });
    let entered; // shows what became of entering, also after a probe
    const show = (f) => { entered = f; if (ws.state === 'open') f(); };
    ws.on('open', () => enter(++connection, 1000));
    const leave = () => { connection++; entered = () => state('', t.closed); };
    leave();
    ws.on('state', (name, { code, failures }) => {
      if (name === 'open') entered();
      else if (name === 'probing') state('', t.probing);
      else if (name === 'unauthorized') state('bad', t.unauthorized);
      else if (name === 'closed') state('bad', t.ended);
      else if (name === 'offline') state('bad', t.offline);
      else if (name === 'waiting' && code === 4010) state('bad', t.elsewhere);
      else if (name === 'waiting' && failures > 2) state('bad', t.refused);
      else if (name === 'waiting') state('', t.closed);
    });
    ws.on('close', leave);
    return ws;
  }

  /**
   * Calls send with the text of the form. If that fails, the text is restored, unless the user is
   * typing the next one.
   */
  function onSay(send, failed) {
    $('form').addEventListener('submit', async (e) => {
      e.preventDefault();
      const say = $('say').value.trim();
      if (!say) return;
      $('say').value = ''; // cleared before the reply, so that the user can type the next text
      try {
        await send(say);
      } catch (err) {
        $('say').value ||= say;
        failed(err);
      }
    });
  }

  global.demo = { lang, t, $, element, avatar, join, onSay, reason };
})(globalThis);
