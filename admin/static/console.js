// Dialogs, copying and the menu; everything else works without scripts.
"use strict";

const wide = window.matchMedia("(min-width: 60rem)");

function keepMenuOpenWhenWide() {
  for (const menu of document.querySelectorAll("[data-open-when-wide]")) menu.open = wide.matches;
}

function openDialog(dialog) {
  dialog.showModal();
  const first = dialog.querySelector("input:not([type=hidden]), select, textarea, footer button");
  if (first) first.focus();
}

async function copy(button) {
  await navigator.clipboard.writeText(button.dataset.copy);
  const label = button.textContent;
  button.textContent = button.dataset.done;
  setTimeout(() => { button.textContent = label; }, 1500);
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-dialog], [data-close], [data-copy]");
  for (const menu of document.querySelectorAll(".menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
  if (!target) return;
  if (target.dataset.dialog) openDialog(document.getElementById(target.dataset.dialog));
  else if (target.dataset.copy !== undefined) copy(target);
  else target.closest("dialog").close();
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll(".menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// One form is sent once, however often its button is pressed.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post") return;
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
});
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

for (const tab of document.querySelectorAll("nav.tabs [aria-current]")) {
  tab.scrollIntoView({ block: "nearest", inline: "center" });
}

wide.addEventListener("change", keepMenuOpenWhenWide);
keepMenuOpenWhenWide();
for (const dialog of document.querySelectorAll("dialog[data-open]")) openDialog(dialog);
