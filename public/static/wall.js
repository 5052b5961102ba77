'use strict';
const { t, $, element, avatar, join, onSay, reason } = demo;
const SHOWN = 40; // messages on the stage; older ones are removed

document.title = $('title').textContent = t.wallTitle;
$('review').textContent = t.review;
$('clean').textContent = t.clean;
$('say').placeholder = $('say').ariaLabel = t.sayWall;
$('send').textContent = t.broadcast;
$('empty').append(element('strong', {}, t.firstMessage), element('span', {}, t.firstHelp));
$('none').textContent = t.none;

let alarmTimer = 0;
function announce(text, kind) {
  $('alarm').textContent = text;
  $('alarm').className = 'alarm ' + kind;
  $('alarm').hidden = false;
  clearTimeout(alarmTimer);
  alarmTimer = setTimeout(() => { $('alarm').hidden = true; }, kind === 'said' ? 10000 : 4000);
}
const alarm = (e) => announce(reason(e), '');
const onWall = (id) => $('stage').querySelector(`article[data-id="${CSS.escape(id)}"]`);
const inQueue = (id) => $('queue').querySelector(`article[data-id="${CSS.escape(id)}"]`);

// The ids of walls' and users' messages are independent; a first letter distinguishes them.
function show(m, own) {
  const id = (own ? 'w' : 'u') + m.id;
  if (onWall(id)) return;
  const node = element('article', { class: own ? 'own' : '', 'data-id': id }, avatar(m.nickname),
    element('div', {}, element('span', { class: 'name' }, m.nickname), element('p', {}, m.say)));
  if (own) {
    node.append(element('button', { class: 'quiet', type: 'button', click: () => ws.call('live.wall.recall', { id: m.id }).then(() => node.remove(), alarm) }, t.recall));
  }
  $('stage').append(node);
  while ($('stage').querySelectorAll('article').length > SHOWN) $('stage').querySelector('article').remove();
}

function enqueue(m) {
  if (inQueue(m.id)) return;
  const decide = (status) => {
    for (const b of node.querySelectorAll('button')) b.disabled = true;
    return ws.call('live.wall.check', { id: m.id, status }).then(() => leave(node), (e) => {
      for (const b of node.querySelectorAll('button')) b.disabled = false;
      alarm(e);
    });
  };
  const node = element('article', { 'data-id': m.id }, avatar(m.nickname),
    element('div', {}, element('span', { class: 'name' }, m.nickname), element('p', {}, m.say), element('div', { class: 'choice' },
      element('button', { class: 'ok', type: 'button', click: () => decide(1) }, t.approve),
      element('button', { class: 'quiet', type: 'button', click: () => decide(0) }, t.drop))));
  $('queue').append(node);
  count();
}

function count() {
  const n = $('queue').children.length;
  $('count').textContent = n;
  $('count').hidden = $('clean').hidden = n === 0;
  $('none').hidden = n > 0;
}

/** Loads more messages after the last one was handled: one reply cannot contain a whole queue. */
async function leave(node) {
  if (!node) return;
  node.remove();
  count();
  if (!$('queue').children.length) await review().catch(alarm);
}

async function review() {
  const queue = await ws.call('live.wall.history', { type: 'user' });
  for (const m of (queue.param || []).reverse()) enqueue(m);
}

count();
const ws = join(async () => {
  await ws.call('live.wall.join');
  const history = await ws.call('live.wall.history', { type: 'wall', count: 10 });
  for (const m of (history.param || []).reverse()) show(m, true);
  $('queue').replaceChildren(); // another wall may have decided while this one was disconnected
  count();
  await review();
});
if (ws) {
  ws.on('userSayNeedCheck', enqueue);
  ws.on('userSayBroadcast', (m) => {
    show(m, false);
    const node = inQueue(m.id);
    if (node) { node.remove(); count(); }
  });
  ws.on('serverBroadcast', (text) => announce(text, 'said'));
  $('clean').addEventListener('click', () => ws.call('live.wall.clean').then(() => { $('queue').replaceChildren(); count(); }, alarm));
  onSay(async (say) => show((await ws.call('live.wall.say', { say })).param, true), alarm);
}
