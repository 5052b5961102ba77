'use strict';
const { element, words, connect, fromPage } = wsframe;
const t = words({
  zh: { title: '直播互动', open: '已连接', closed: '正在连接…', say: '说点什么…', send: '发送', waiting: '已发送，等待大屏幕审核', wall: '大屏幕', recalled: '大屏幕撤回了一条消息', failed: '发送失败：' },
  en: { title: 'Live room', open: 'connected', closed: 'connecting…', say: 'Say something…', send: 'Send', waiting: 'Sent; it awaits review', wall: 'Wall', recalled: 'The wall took a message back', failed: 'Not sent: ' },
});
const $ = (id) => document.getElementById(id);
document.title = $('title').textContent = t.title;
$('say').placeholder = t.say;
$('send').textContent = t.send;

function show(node) {
  $('talk').append(node);
  while ($('talk').children.length > 200) $('talk').firstChild.remove();
  node.scrollIntoView({ block: 'end' });
}
const note = (text) => show(element('div', { class: 'note' }, text));
const mine = new Set();
const shown = (m, kind) => show(element('article', { class: kind, 'data-id': m.id },
  element('span', { class: 'name' }, kind === 'own' ? t.wall + ' · ' + m.nickname : m.nickname), element('p', {}, m.say)));

const ws = connect(fromPage());
function state(open) {
  $('state').textContent = open ? t.open : t.closed;
  $('state').classList.toggle('open', open);
  $('send').disabled = !open;
}
state(false);
let first = true;
ws.on('open', async () => {
  try {
    await ws.call('live.user.join');
    if (first) {
      first = false;
      const history = await ws.call('live.user.history', { count: 10 });
      for (const m of (history.param || []).reverse()) shown(m, 'own');
    }
    state(true);
  } catch (e) { note(e.message); }
});
ws.on('close', () => state(false));
ws.on('userSayBroadcast', (m) => shown(m, mine.has(m.id) ? 'mine' : ''));
ws.on('wallSayBroadcast', (m) => shown(m, 'own'));
ws.on('wallSayRecall', (id) => {
  for (const e of document.querySelectorAll('article.own')) if (e.dataset.id === String(id)) e.remove();
  note(t.recalled);
});
ws.on('serverBroadcast', note);
$('form').addEventListener('submit', async (e) => {
  e.preventDefault();
  const say = $('say').value.trim();
  if (!say) return;
  try {
    const reply = await ws.call('live.user.say', { say });
    mine.add(reply.param);
    $('say').value = '';
    note(t.waiting);
  } catch (err) { note(t.failed + err.message); }
});
