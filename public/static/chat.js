'use strict';
const { lang, $, element, avatar, join, reason } = demo;
const t = {
  zh: {
    title: '聊天', rooms: '房间', users: '私信', usersHelp: '点击在线的人即可发私信', online: '在线', leave: '离开', more: '更多', older: '更早的消息',
    views: (n) => `${n} 次访问`, say: (to) => `发送到 ${to}…`, send: '发送', came: (who) => `${who} 来了`, left: (who) => `${who} 离开了`,
    recovered: (n) => `已补回 ${n} 条错过的消息`, sending: '发送中…', failed: '未确认：', again: '重发', empty: '还没有消息，说点什么吧', menu: '房间与私信', outside: '点击左侧的房间加入',
    names: { lobby: '大厅', tech: '技术交流', music: '音乐' },
  },
  en: {
    title: 'Chat', rooms: 'Rooms', users: 'Private', usersHelp: 'Click somebody who is online to write to them', online: 'Online', leave: 'Leave', more: 'More', older: 'Older messages',
    views: (n) => (n === 1 ? '1 view' : `${n} views`), say: (to) => `Write to ${to}…`, send: 'Send', came: (who) => `${who} is here`, left: (who) => `${who} has left`,
    recovered: (n) => n === 1 ? 'Caught up with 1 message' : `Caught up with ${n} messages`, sending: 'Sending…', failed: 'Not confirmed: ', again: 'Send again', empty: 'Nothing yet: say something', menu: 'Rooms and private messages', outside: 'Choose a room',
    names: { lobby: 'Lobby', tech: 'Tech talk', music: 'Music' },
  },
}[lang];
const PAGE = 50; // messages or members requested at a time
const HELD = 300; // messages held for a conversation; older ones are removed, and can be loaded again

for (const [id, text] of Object.entries({ roomsTitle: t.rooms, usersTitle: t.users, usersHelp: t.usersHelp, onlineTitle: t.online, leave: t.leave, more: t.more, send: t.send })) $(id).textContent = text;
$('menu').ariaLabel = t.menu;
$('who').ariaLabel = t.online;

// A feed is one history of the server: the messages of a room, or all private messages of this
// user. A talk is a conversation on the page: a room, or the private messages with one user.
const feeds = new Map(); // channel → {channel, epoch, first: oldest offset on the page, kept: oldest offset on the server}
const rooms = new Map(); // id → talk
const users = new Map(); // id → talk
const names = new Map(); // user → nickname
let me = null, inbox = null, active = null;
let caughtUp = new Set(); // channels whose missed messages the server has just sent

const feedOf = (channel) => {
  if (!feeds.has(channel)) feeds.set(channel, { channel, epoch: '', first: 0, kept: 0 });
  return feeds.get(channel);
};
const newTalk = (kind, id, title) => ({ kind, id, title, feed: null, items: [], pending: new Map(), unread: 0, members: new Map(), next: 0, online: 0, views: 0, joined: false });
const talkOf = (id) => {
  if (!users.has(id)) users.set(id, newTalk('user', id, ''));
  const talk = users.get(id);
  talk.feed = inbox;
  return talk;
};
const titleOf = (talk) => talk.kind === 'user' ? names.get(talk.id) || talk.id : talk.title;

// The rooms of this tab survive a reload of the page; their messages are loaded from the server.
const saved = (() => { try { return JSON.parse(sessionStorage.getItem('chat')) || {}; } catch { return {}; } })();
function save() {
  const state = { rooms: [...rooms.values()].filter((r) => r.joined).map((r) => r.id), active: active && [active.kind, active.id, titleOf(active)] };
  try { sessionStorage.setItem('chat', JSON.stringify(state)); } catch { /* private windows have no storage */ }
}

// --- display

const clock = new Intl.DateTimeFormat(lang, { hour: '2-digit', minute: '2-digit', hour12: false });
const day = new Intl.DateTimeFormat(lang, { month: 'short', day: 'numeric' });
const when = (ms) => {
  const d = new Date(ms);
  return (d.toDateString() === new Date().toDateString() ? '' : day.format(d) + ' ') + clock.format(d);
};
const bubble = (m, kind) => element('article', { class: kind }, avatar(m.from.nickname || m.from.id), element('div', {},
  element('span', { class: 'name' }, kind === 'mine' ? '' : m.from.nickname || m.from.id, element('time', { title: m.time ? new Date(m.time).toLocaleString(lang) : '' }, m.time ? when(m.time) : '')),
  element('p', {}, m.text)));

const atEnd = () => $('talk').scrollHeight - $('talk').scrollTop - $('talk').clientHeight < 80;
const toEnd = () => { $('talk').scrollTop = $('talk').scrollHeight; };

/** Inserts an item by its offset, unless an item with that offset exists. */
function put(talk, item) {
  let i = talk.items.length;
  while (i > 0 && talk.items[i - 1].offset > item.offset) i--;
  if (!item.note && talk.items.some((x) => x.offset === item.offset && !x.note)) return false;
  const follow = atEnd();
  talk.items.splice(i, 0, item);
  if (talk === active) {
    const behind = talk.items[i + 1] ? talk.items[i + 1].node : [...talk.pending.values()][0] || null;
    $('talk').insertBefore(item.node, behind);
    $('talk').querySelector('.empty')?.remove();
  }
  if (follow) {
    while (talk.items.length > HELD) { talk.items.shift().node.remove(); forgetOlder(talk); }
    if (talk === active) toEnd();
  }
  return true;
}
const note = (talk, text) => put(talk, { offset: talk.items.length ? talk.items.at(-1).offset : 0, note: true, node: element('div', { class: 'note' }, text) });

/** Updates the oldest offset on the page. */
function forgetOlder(talk) {
  if (talk.kind === 'room') talk.feed.first = talk.items.find((x) => !x.note)?.offset || 0;
}

/** Returns the size of a room: its users if all are known, else its connections. */
const present = (talk) => talk.joined && !talk.next ? talk.members.size : talk.online;

/**
 * Shows rows {key, click, kind, content} as buttons. Existing buttons are reused, because a new one
 * would lose a press or the focus.
 */
function buttons(list, rows) {
  const keys = new Set(rows.map((row) => row.key));
  for (const b of [...list.children]) if (!keys.has(b.dataset.key)) b.remove();
  const there = new Map([...list.children].map((b) => [b.dataset.key, b]));
  rows.forEach(({ key, click, kind, content }, i) => {
    const b = there.get(key) || element('button', { type: 'button', 'data-key': key });
    b.className = kind || '';
    b.onclick = click;
    b.disabled = !click;
    b.replaceChildren(...content);
    if (list.children[i] !== b) list.insertBefore(b, list.children[i] || null);
  });
}

function entry(talk) {
  const icon = talk.kind === 'user' ? avatar(titleOf(talk)) : element('span', { class: 'hash', 'aria-hidden': 'true' }, '#');
  const number = talk.unread ? element('b', {}, String(talk.unread)) : element('small', {}, talk.kind === 'room' ? String(present(talk)) : '');
  return {
    key: talk.id, click: () => open(talk), kind: (talk === active ? 'active' : '') + (talk.kind === 'room' && !talk.joined ? ' outside' : ''),
    content: [icon, element('span', {}, titleOf(talk)), number],
  };
}

function member([id, nickname]) {
  const name = nickname || id;
  return {
    key: id, click: me && id === me.id ? null : () => { names.set(id, name); open(talkOf(id)); },
    content: [avatar(name), element('span', {}, name)],
  };
}

/** Shows the lists and the head. Messages are shown when they change. */
function draw() {
  buttons($('rooms'), [...rooms.values()].map(entry));
  buttons($('users'), [...users.values()].map(entry));
  $('usersHelp').hidden = users.size > 0;
  const unread = [...rooms.values(), ...users.values()].reduce((n, talk) => n + talk.unread, 0);
  $('elsewhere').textContent = unread;
  $('elsewhere').hidden = !unread;
  $('title').textContent = active ? titleOf(active) : t.outside;
  document.title = (unread ? `(${unread}) ` : '') + (active ? titleOf(active) : t.title);
  const room = active && active.kind === 'room';
  $('views').textContent = room && active.views ? t.views(active.views) : '';
  $('leave').hidden = !active;
  $('form').hidden = !active;
  $('online').hidden = $('who').hidden = !room;
  if (active) $('say').placeholder = $('say').ariaLabel = t.say(titleOf(active));
  if (!room) return;
  $('total').textContent = present(active);
  $('who').textContent = `${t.online} ${present(active)}`;
  $('more').hidden = !active.next;
  buttons($('members'), [...active.members].map(member));
}

function drawTalk() {
  if (!active) { $('talk').replaceChildren(); return; }
  const feed = active.feed;
  const nodes = [...active.items.map((x) => x.node), ...active.pending.values()];
  const older = feed && feed.first > feed.kept ? [element('button', { class: 'plain older', type: 'button', click: loadOlder }, t.older)] : [];
  $('talk').replaceChildren(...older, ...(nodes.length ? nodes : [element('div', { class: 'empty' }, t.empty)]));
  toEnd();
}

async function open(talk) {
  $('chat').classList.remove('showSide', 'showOnline');
  active = talk;
  talk.unread = 0;
  draw();
  drawTalk();
  save();
  if (talk.kind === 'room' && !talk.joined) await enter(talk).catch((e) => note(talk, reason(e)));
  if (talk === active && matchMedia('(hover: hover)').matches) $('say').focus();
}

// --- received messages

/**
 * Adds a message, live or from a history. Live messages count as unread while their talk is hidden.
 */
function take(frame, fresh) {
  const m = frame.param;
  if (!me || (frame.event !== 'roomSay' && frame.event !== 'privateSay')) return; // before the login is complete, the history contains it
  if (m.from.nickname) names.set(m.from.id, m.from.nickname);
  const mine = m.from.id === me.id;
  const talk = frame.event === 'roomSay' ? rooms.get(m.room) : talkOf(mine ? m.to : m.from.id);
  if (!talk) return;
  talk.feed ||= feedOf(frame.room); // the message may arrive before the reply to the join
  era(talk.feed, frame.epoch);
  if (mine && talk.pending.has(m.key)) {
    talk.pending.get(m.key).remove();
    talk.pending.delete(m.key);
  }
  if (!put(talk, { offset: frame.offset, node: bubble(m, mine ? 'mine' : '') })) return;
  if (fresh && !mine && (talk !== active || document.hidden)) talk.unread++;
  draw();
}

const talksOf = (feed) => feed === inbox ? [...users.values()] : [...rooms.values()].filter((talk) => talk.feed === feed);

/**
 * Handles a new epoch: the server lost its history and starts new offsets. Existing messages stay,
 * before all later ones.
 */
function era(feed, epoch) {
  if (feed.epoch && feed.epoch !== epoch) {
    for (const talk of talksOf(feed)) for (const item of talk.items) item.offset -= 2 ** 40;
    feed.first = feed.kept = 0;
  }
  feed.epoch = epoch;
}

/**
 * Loads the newest messages. If they do not reach back to the existing ones, these are removed, so
 * that there is no hidden gap.
 */
async function load(feed) {
  const page = (await ws.call('sys.history', { room: feed.channel, limit: PAGE })).param;
  era(feed, page.epoch);
  ws.room(feed.channel).saw(page.epoch, page.offset);
  const oldest = page.items.length ? page.items[0].offset : 0;
  const held = talksOf(feed).flatMap((talk) => talk.items.map((x) => x.offset)).filter((offset) => offset > 0);
  if (held.some((offset) => offset < oldest) && !held.includes(oldest - 1)) {
    for (const talk of talksOf(feed)) talk.items = talk.items.filter((x) => x.offset >= oldest);
    feed.first = oldest;
  }
  feed.first ||= oldest;
  feed.kept = page.first;
  const newest = Math.max(0, ...held);
  for (const item of page.items) take(item, newest > 0 && item.offset > newest);
  if (active && active.feed === feed) drawTalk();
}

async function loadOlder() {
  const { feed } = active;
  const height = $('talk').scrollHeight;
  const page = (await ws.call('sys.history', { room: feed.channel, limit: PAGE, before: feed.first })).param;
  feed.kept = page.first;
  feed.first = page.items.length ? page.items[0].offset : page.first;
  for (const item of page.items) take(item, false);
  drawTalk();
  $('talk').scrollTop = $('talk').scrollHeight - height;
}

async function members(talk, after) {
  const page = (await ws.call('chat.room.online', { room: talk.id, limit: PAGE, after })).param;
  if (!after) talk.members.clear();
  for (const u of page.list) talk.members.set(u.id, u.nickname);
  talk.online = page.total;
  talk.next = page.next;
  draw();
}

/**
 * Joins a room. If the server did not send the missed messages before the reply, the newest
 * messages are loaded.
 */
async function enter(talk) {
  const { channel } = (await ws.call('chat.room.join', { room: talk.id })).param;
  talk.joined = true;
  talk.feed ||= feedOf(channel);
  if (!caughtUp.delete(channel)) await load(talk.feed);
  await members(talk, 0);
  save();
}

const ws = join(async () => {
  const self = (await ws.call('chat.user.open')).param;
  me = self;
  inbox = feedOf(self.channel);
  names.set(self.id, self.nickname);
  $('me').textContent = self.nickname || self.id;
  $('uid').textContent = self.nickname ? self.id : '';
  $('picture').replaceChildren(avatar(self.nickname || self.id));
  if (!caughtUp.delete(inbox.channel)) await load(inbox);
  const first = !rooms.size;
  for (const r of (await ws.call('chat.room.list')).param) {
    if (!rooms.has(r.id)) rooms.set(r.id, newTalk('room', r.id, t.names[r.id] || r.title));
    Object.assign(rooms.get(r.id), { online: r.online, views: r.views });
  }
  if (first) {
    for (const id of saved.rooms || []) if (rooms.has(id)) rooms.get(id).joined = true;
    const [kind, id, title] = saved.active || [];
    if (kind === 'user') { names.set(id, names.get(id) || title); active = talkOf(id); }
    else active = rooms.get(id) || [...rooms.values()][0];
    if (active.kind === 'room') active.joined = true;
  }
  draw();
  drawTalk();
  for (const talk of rooms.values()) if (talk.joined) await enter(talk);
});
if (ws) {
  ws.on('close', () => { caughtUp = new Set(); });
  ws.on('sysRecovered', (r) => {
    if (!r.recovered) return;
    caughtUp.add(r.room);
    const talk = [...rooms.values()].find((x) => x.feed && x.feed.channel === r.room);
    if (talk && r.count) note(talk, t.recovered(r.count));
  });
  for (const event of ['roomSay', 'privateSay']) ws.on(event, (param, frame) => take(frame, true));
  const inChannel = (channel) => [...rooms.values()].find((x) => x.joined && x.feed && x.feed.channel === channel);
  ws.on('roomJoin', (p) => {
    const talk = inChannel(p.room);
    if (!talk) return;
    if (me && p.id !== me.id && !talk.members.has(p.id)) note(talk, t.came(p.nickname || p.id));
    talk.members.set(p.id, p.nickname);
    draw();
  });
  ws.on('roomLeave', (p) => {
    const talk = inChannel(p.room);
    if (talk && talk.members.delete(p.id)) { note(talk, t.left(p.nickname || p.id)); draw(); }
  });
  ws.on('roomViews', (p) => { if (rooms.has(p.room)) { rooms.get(p.room).views = p.views; draw(); } });
  ws.on('serverBroadcast', (text) => { if (active) note(active, text); });

  const send = (talk, text, key) => {
    const node = element('article', { class: 'pending' }, element('div', {}, element('span', { class: 'name' }, t.sending), element('p', {}, text)));
    talk.pending.get(key)?.remove();
    talk.pending.set(key, node);
    $('talk').querySelector('.empty')?.remove();
    if (talk === active) { $('talk').append(node); toEnd(); }
    const [method, to] = talk.kind === 'room' ? ['chat.room.say', { room: talk.id }] : ['chat.user.say', { to: talk.id }];
    // The message counts as sent when it arrives with its key, as at every member. This also works
    // if only the reply was lost.
    ws.call(method, { ...to, text, key }).catch((e) => {
      node.className = 'pending failed';
      node.querySelector('.name').replaceChildren(t.failed + reason(e) + ' ', element('button', { class: 'plain', type: 'button', click: () => send(talk, text, key) }, t.again));
    });
  };
  $('form').addEventListener('submit', (e) => {
    e.preventDefault();
    const text = $('say').value.trim();
    if (!text || !active) return;
    $('say').value = '';
    send(active, text, Math.random().toString(36).slice(2) + Date.now().toString(36));
  });
  $('leave').addEventListener('click', async () => {
    const talk = active;
    if (talk.kind === 'room') {
      try { await ws.call('chat.room.leave', { room: talk.id }); } catch (e) { note(talk, reason(e)); return; }
      ws.room(talk.feed.channel).forget();
      Object.assign(talk, { joined: false, items: [], unread: 0, online: Math.max(0, present(talk) - 1) });
      feeds.delete(talk.feed.channel);
      talk.feed = null;
    } else users.delete(talk.id);
    const next = [...rooms.values()].find((r) => r.joined) || null;
    if (next) { open(next); return; }
    active = null;
    draw();
    drawTalk();
    save();
  });
  $('more').addEventListener('click', () => members(active, active.next).catch((e) => note(active, reason(e))));
  $('menu').addEventListener('click', () => $('chat').classList.add('showSide'));
  $('who').addEventListener('click', () => $('chat').classList.add('showOnline'));
  $('shade').addEventListener('click', () => $('chat').classList.remove('showSide', 'showOnline'));
  document.addEventListener('visibilitychange', () => { if (!document.hidden && active && active.unread) { active.unread = 0; draw(); } });
}
