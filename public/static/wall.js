'use strict';
const { element, words, connect, fromPage } = wsframe;
const t = words({
  zh: { title: '现场大屏幕', open: '已连接', closed: '正在连接…', review: '等待审核', clean: '清空', approve: '通过', drop: '拒绝', recall: '撤回', say: '对所有人说…', send: '广播', none: '没有等待审核的消息' },
  en: { title: 'Live wall', open: 'connected', closed: 'connecting…', review: 'To review', clean: 'Clear', approve: 'Approve', drop: 'Drop', recall: 'Take back', say: 'Say to everybody…', send: 'Broadcast', none: 'Nothing to review' },
});
const $ = (id) => document.getElementById(id);
document.title = $('title').textContent = t.title;
$('review').textContent = t.review;
$('clean').textContent = t.clean;
$('say').placeholder = t.say;
$('send').textContent = t.send;

function show(m, own) {
  const node = element('article', { class: own ? 'own' : '', 'data-id': m.id },
    element('p', {}, element('span', { class: 'name' }, m.nickname + '  '), m.say));
  if (own) node.append(element('button', { class: 'quiet', click: () => ws.call('live.wall.recall', { id: m.id }).then(() => node.remove(), alarm) }, t.recall));
  $('stage').append(node);
  while ($('stage').children.length > 30) $('stage').firstChild.remove();
}
function empty() {
  $('queue').replaceChildren(...($('queue').querySelector('article') ? $('queue').querySelectorAll('article') : [element('div', { class: 'empty' }, t.none)]));
}
function enqueue(m) {
  const decide = (status) => ws.call('live.wall.check', { id: m.id, status }).then(() => { node.remove(); empty(); }, alarm);
  const node = element('article', { 'data-id': m.id }, element('span', { class: 'name' }, m.nickname), element('p', {}, m.say),
    element('button', { class: 'ok', click: () => decide(1) }, t.approve), ' ', element('button', { class: 'quiet', click: () => decide(0) }, t.drop));
  $('queue').append(node);
  empty();
}
const alarm = (e) => { $('state').textContent = e.message; };

const ws = connect(fromPage());
function state(open) {
  $('state').textContent = open ? t.open : t.closed;
  $('state').classList.toggle('open', open);
  $('send').disabled = !open;
}
state(false);
empty();
ws.on('open', async () => {
  try {
    await ws.call('live.wall.join');
    const history = await ws.call('live.wall.history', { type: 'wall', count: 10 });
    $('stage').replaceChildren();
    for (const m of (history.param || []).reverse()) show(m, true);
    const queue = await ws.call('live.wall.history', { type: 'user', count: 20 });
    $('queue').replaceChildren();
    for (const m of (queue.param || []).reverse()) enqueue(m);
    empty();
    state(true);
  } catch (e) { alarm(e); }
});
ws.on('close', () => state(false));
ws.on('userSayNeedCheck', enqueue);
ws.on('userSayBroadcast', (m) => {
  show(m, false);
  for (const e of $('queue').querySelectorAll('article')) if (e.dataset.id === String(m.id)) e.remove();
  empty();
});
$('clean').addEventListener('click', () => ws.call('live.wall.clean').then(() => { $('queue').replaceChildren(); empty(); }, alarm));
$('form').addEventListener('submit', async (e) => {
  e.preventDefault();
  const say = $('say').value.trim();
  if (!say) return;
  try {
    const reply = await ws.call('live.wall.say', { say });
    show(reply.param, true);
    $('say').value = '';
  } catch (err) { alarm(err); }
});
