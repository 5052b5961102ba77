'use strict';
const { t, $ } = demo;
for (const e of document.querySelectorAll('[data-t]')) e.textContent = t[e.dataset.t];
for (const page of ['wall', 'user', 'chat']) {
  const form = $(page);
  fetch(page + '.html', { method: 'HEAD' }).then((answer) => { form.hidden = !answer.ok; }); // a demo that was removed
  form.elements.token.placeholder = form.elements.token.ariaLabel = t.paste;
  form.addEventListener('submit', (e) => {
    e.preventDefault();
    location.href = page + '.html#auth=' + encodeURIComponent(form.elements.token.value.trim());
  });
}
