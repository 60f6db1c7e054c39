"use strict";
/* Keeps the payer's page true. The server says when it has changed and renders it; this takes the new parts in.
   Asks by itself where the stream of events does not get through, or while the page is hidden. */
(() => {
  const FIRST_PAUSE_MS = 3000, LONGEST_PAUSE_MS = 10000, SLOWING = 1.2, SILENCE_MS = 8000;
  const PARTS = ["order", "pay", "help"];
  const main = document.querySelector("main");
  const byId = (id) => document.getElementById(id);
  let stream = null, poll = 0, silence = 0, pause = FIRST_PAUSE_MS, payUntil = 0, returnIn = -1;

  async function refresh() {
    let text;
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (!answer.ok) return;
      text = await answer.text();
    } catch { return; /* offline: asked again later */ }
    const fresh = new DOMParser().parseFromString(text, "text/html");
    const next = fresh.querySelector("main[data-version]");
    if (next && next.dataset.version !== main.dataset.version) take(fresh, next);
    else if (next) main.dataset.watch = next.dataset.watch;
  }

  function take(fresh, next) {
    for (const part of PARTS) byId(part).replaceChildren(...fresh.getElementById(part).childNodes);
    Object.assign(main.dataset, next.dataset);
    say(fresh.getElementById("state").textContent);
    document.title = fresh.title;
    readClocks();
    if (main.dataset.watch !== "yes") stop();
  }

  function say(text) { /* the live region: written only when it is news */
    if (byId("state").textContent !== text) byId("state").textContent = text;
  }

  function watch() {
    stop();
    if (main.dataset.watch !== "yes") return;
    pause = FIRST_PAUSE_MS;
    if (document.hidden || !window.EventSource) { pollLater(); return; }
    stream = new EventSource(main.dataset.events);
    stream.addEventListener("state", (event) => {
      clearTimeout(silence); clearTimeout(poll);
      if (event.data !== main.dataset.version) refresh();
    });
    stream.addEventListener("end", () => { stop(); refresh(); });
    stream.addEventListener("error", () => {
      if (stream && stream.readyState === EventSource.CLOSED) { stop(); pollLater(); }
    });
    silence = setTimeout(pollLater, SILENCE_MS);
  }

  function pollLater() {
    clearTimeout(poll);
    poll = setTimeout(async () => {
      await refresh();
      pause = Math.min(pause * SLOWING, LONGEST_PAUSE_MS);
      if (main.dataset.watch === "yes") pollLater();
    }, pause);
  }

  function stop() {
    if (stream) stream.close();
    stream = null;
    clearTimeout(poll); clearTimeout(silence);
  }

  function readClocks() {
    const countdown = document.querySelector(".countdown");
    payUntil = countdown ? Date.now() + 1000 * countdown.dataset.left : 0;
    const returning = byId("returning");
    returnIn = returning ? Number(returning.dataset.left) : -1;
    tick();
  }

  function tick() {
    if (payUntil) showLeft(Math.max(0, Math.ceil((payUntil - Date.now()) / 1000)));
    if (returnIn >= 0 && !document.hidden) {
      byId("returning").querySelector("b").textContent = returnIn;
      if (returnIn-- === 0) location.replace(byId("return").href);
    }
  }

  function showLeft(seconds) {
    const left = document.querySelector(".countdown .left");
    const two = (number) => String(number).padStart(2, "0");
    const hours = Math.floor(seconds / 3600), minutes = Math.floor(seconds / 60) % 60;
    left.querySelector("b").textContent = (hours ? hours + ":" : "") + two(minutes) + ":" + two(seconds % 60);
    left.hidden = false;
    if (seconds === 0) { /* at once, whether or not the server can be reached */
      payUntil = 0;
      main.dataset.state = "EXPIRED";
      say(main.dataset.expired);
      refresh();
    }
  }

  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); watch(); });
  window.addEventListener("pageshow", (event) => { if (event.persisted) { refresh(); watch(); } });
  window.addEventListener("pagehide", stop);
  setInterval(tick, 1000);
  readClocks();
  watch();
})();
