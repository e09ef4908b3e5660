// What a page does by itself: clocks that run, and whether it still hears of changes. Everything else is the server's.
"use strict";

(() => {
  // The server's clock counts, whatever this machine believes.
  const ahead = Number(document.body.dataset.now || Date.now()) - Date.now();

  const span = (milliseconds) => {
    const seconds = Math.max(0, Math.floor(milliseconds / 1000));
    const counts = [
      [Math.floor(seconds / 86400), "d"],
      [Math.floor(seconds / 3600) % 24, "h"],
      [Math.floor(seconds / 60) % 60, "min"],
      [seconds % 60, "s"],
    ];
    const first = counts.findIndex(([count]) => count > 0);
    const shown = first < 0 ? [] : counts.slice(first, first + 2).filter(([count]) => count > 0);
    return shown.map(([count, unit]) => `${count} ${unit}`).join(" ") || "0 s";
  };

  const write = (element, words) => {
    if (element.textContent !== words) element.textContent = words;
  };

  const tick = () => {
    const now = Date.now() + ahead;
    for (const each of document.querySelectorAll("[data-since]")) write(each, span(now - Number(each.dataset.since)));
    for (const each of document.querySelectorAll("[data-until]")) {
      const left = Number(each.dataset.until) - now;
      write(each, span(left));
      each.classList.toggle("soon", left < 60_000);
    }
  };

  const tell = (word, state) => {
    const live = document.getElementById("live");
    if (!live) return;
    live.className = `live ${state}`;
    write(live.querySelector(".live-word"), word);
  };

  document.addEventListener("htmx:sse:after:connection", () => tell("live", "on"));
  const end = () => {
    document.getElementById("signed-out").hidden = false;
    tell("not live", "off");
  };
  document.addEventListener("htmx:sse:error", (event) => {
    if (event.detail.status === 401) end();
    else tell("not live", "off");
  });
  // A stream that was there once is opened anew by itself; one that was refused at first is not.
  const refused = (event) => {
    if (event.target.id !== "live") return;
    if (event.detail.ctx?.response?.status === 401) return end();
    tell("not live", "off");
    setTimeout(() => htmx.trigger("#live", "again"), 5000);
  };
  document.addEventListener("htmx:response:error", refused);
  document.addEventListener("htmx:error", refused);
  document.addEventListener("ended", end);
  document.addEventListener("htmx:after:swap", tick);
  setInterval(tick, 1000);
  tick();
})();
