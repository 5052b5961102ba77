'use strict';
const { t, $, element, avatar, join, onSay, reason } = demo;
const SHOWN = 200; // messages in the talk; older ones are removed
const LANES = 3; // lanes of the barrage
const LINE = 20; // messages that may wait for a lane
const SPEED = 0.075; // pixels per millisecond

document.title = $('title').textContent = t.userTitle;
$('say').placeholder = $('say').ariaLabel = t.sayUser;
$('send').textContent = t.send;

function show(node) {
  const talk = $('talk');
  const follow = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 80; // do not scroll while the user reads older messages
  talk.append(node);
  while (talk.children.length > SHOWN) talk.firstChild.remove();
  if (follow) talk.scrollTop = talk.scrollHeight;
}
const note = (text) => show(element('div', { class: 'note' }, text));
const talked = (id) => $('talk').querySelector(`article[data-id="${CSS.escape(id)}"]`);

// The ids of walls' and users' messages are independent; a first letter distinguishes them.
function talk(m, kind, tag) {
  const id = (kind === 'own' ? 'w' : 'u') + m.id;
  const before = talked(id);
  if (before) {
    if (!before.classList.contains('pending')) return false;
    before.remove(); // the approved message appears at its new place
    kind = 'mine';
  }
  show(element('article', { class: kind, 'data-id': id }, avatar(m.nickname), element('div', {},
    element('span', { class: 'name' }, m.nickname, ...(tag ? [element('em', {}, tag)] : [])), element('p', {}, m.say))));
  return kind;
}

// The barrage: a lane shows its next message once the previous one is completely visible. If too
// many messages wait, the oldest is dropped.
const line = [];
const lanes = new Array(LANES).fill(0); // the time at which each lane is free
function fly(m, kind) {
  if (!kind || matchMedia('(prefers-reduced-motion: reduce)').matches) return;
  line.push([m, kind]);
  while (line.length > LINE) line.shift();
  launch();
}
function launch() {
  const now = performance.now();
  const lane = lanes.indexOf(Math.min(...lanes));
  if (!line.length) return;
  if (lanes[lane] > now) { setTimeout(launch, lanes[lane] - now); return; }
  const [m, kind] = line.shift();
  const node = element('span', { class: `lane${lane} ${kind}` }, [...m.say].slice(0, 40).join(''));
  $('barrage').append(node);
  const way = $('barrage').clientWidth + node.offsetWidth;
  node.animate([{ transform: 'none' }, { transform: `translateX(${-way}px)` }], { duration: way / SPEED }).onfinish = () => node.remove();
  lanes[lane] = now + (node.offsetWidth + 30) / SPEED;
  if (line.length) launch();
}

const wallTag = (m) => m.nickname === t.wall ? '' : t.wall;

let first = true;
const ws = join(async () => {
  await ws.call('live.user.join');
  const history = await ws.call('live.user.history', { count: 10 });
  for (const m of (history.param || []).reverse()) talk(m, 'own', wallTag(m));
  if (first) note(t.welcome);
  first = false;
});
if (ws) {
  ws.on('userSayBroadcast', (m) => fly(m, talk(m, 'other')));
  ws.on('wallSayBroadcast', (m) => fly(m, talk(m, 'own', wallTag(m))));
  ws.on('wallSayRecall', (id) => {
    const node = talked('w' + id);
    if (node) node.replaceWith(element('div', { class: 'note' }, t.recalled));
  });
  ws.on('serverBroadcast', note);
  onSay(async (say) => {
    const reply = await ws.call('live.user.say', { say });
    talk({ id: reply.param, nickname: '', say }, 'pending', t.waiting);
    $('talk').scrollTop = $('talk').scrollHeight;
  }, (e) => note(t.failed + reason(e)));
}
