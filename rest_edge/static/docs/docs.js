// The filter box over the navigation, and a button that copies a block of code. Pages read well without it.
'use strict';

const box = document.getElementById('words');
const entries = [...document.querySelectorAll('nav section li')];
let index = null;

async function load() {
  index ??= fetch('/docs/search.json').then((answer) => answer.json());
  return index;
}

async function filter() {
  const wanted = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  const words = wanted.length ? await load() : {};
  let found = 0;
  for (const entry of entries) {
    const link = entry.querySelector('a');
    const known = `${words[link.pathname] ?? ''} ${link.textContent.toLowerCase()}`;
    entry.hidden = !wanted.every((word) => known.includes(word));
    found += entry.hidden ? 0 : 1;
  }
  for (const section of document.querySelectorAll('nav section')) {
    section.hidden = !section.querySelector('li:not([hidden])');
  }
  document.getElementById('nothing').hidden = found > 0;
}

document.getElementById('filter').hidden = false;
box.addEventListener('focus', load, { once: true });
box.addEventListener('input', filter);
document.addEventListener('keydown', (event) => {
  if (event.key === '/' && !event.target.closest('input, textarea, select')) {
    event.preventDefault();
    document.querySelector('nav .menu').open = true;
    box.focus();
  }
});

if (window.matchMedia('(max-width: 56rem)').matches) {
  document.querySelector('nav .menu').open = false;
}
const current = document.querySelector('nav [aria-current]');
if (current) {
  const list = document.querySelector('nav');
  list.scrollTop = current.offsetTop - list.clientHeight / 2;
}

for (const block of document.querySelectorAll('article pre')) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'copy';
  button.textContent = document.body.dataset.copy;
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(block.textContent);
    button.textContent = document.body.dataset.copied;
    setTimeout(() => { button.textContent = document.body.dataset.copy; }, 1500);
  });
  const frame = document.createElement('div');
  frame.className = 'block';
  block.replaceWith(frame);
  frame.append(block, ...(navigator.clipboard ? [button] : []));
}
