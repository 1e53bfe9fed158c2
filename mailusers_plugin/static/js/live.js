// The stream of changes: one for each tab that is looked at. A browser's own EventSource gives up at an error of the
// server and comes back all too evenly; here it is tried again, later each time, from the last change that is known.
import { report } from "./changes.js";
import { prepare } from "./session.js";

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 60000;
const STEADY_MS = 10000; // A stream that has lasted so long begins anew with the pauses.
const SAY_AFTER = 2; // A server that is only restarted is not worth a word.

const place = document.getElementById("mu-live");
const state = document.getElementById("mu-live-state");
let after = place?.dataset.muAfter;
let source = null;
let timer = null;
let failures = 0;
let openedAt = 0;
let isLoggedOut = false;

function say(name) {
  const words = name ? document.getElementById(`mu-live-${name}`).content.cloneNode(true) : "";
  if (place.dataset.muState === name) return;
  place.dataset.muState = name;
  state.replaceChildren(words);
  prepare(state);
}

function close() {
  source?.close();
  source = null;
  clearTimeout(timer);
  timer = null;
}

function open() {
  close();
  if (document.hidden || !place.isConnected) return;
  const url = new URL(place.dataset.muUrl, location.href);
  url.searchParams.set("after", after);
  const current = new EventSource(url);
  source = current;
  const listen = (name, handle) =>
    current.addEventListener(name, (event) => {
      if (current !== source) return;
      after = event.lastEventId || after;
      handle(event);
    });
  listen("open", () => {
    openedAt = performance.now();
    isLoggedOut = false;
    say("");
  });
  listen("changed", (event) => report(JSON.parse(event.data)));
  listen("reload", () => report({ everything: true }));
  listen("login", logOut);
  listen("error", failed);
}

function logOut() {
  close();
  isLoggedOut = true;
  say("login");
}

async function failed() {
  const wasOpen = openedAt > 0;
  if (wasOpen && performance.now() - openedAt > STEADY_MS) failures = 0;
  openedAt = 0;
  close();
  failures += 1;
  if (failures >= SAY_AFTER) say("lost");
  const pause = Math.min(FIRST_PAUSE_MS * 2 ** (failures - 1), LONGEST_PAUSE_MS) * (0.5 + Math.random());
  const asked = wasOpen ? 0 : await reason();
  if (asked !== null && !source && timer === null) timer = setTimeout(open, Math.max(pause, asked));
}

// Why a stream was not opened, which an EventSource does not tell. Returns how many milliseconds the server wants to be
// left alone, or null where trying again is in vain.
async function reason() {
  try {
    const headers = { Accept: "text/event-stream" };
    const response = await fetch(place.dataset.muUrl, { method: "HEAD", headers, cache: "no-store" });
    if (response.status === 401 || response.status === 403) {
      logOut();
      return null;
    }
    return 1000 * (Number(response.headers.get("Retry-After")) || 0);
  } catch {
    return 0;
  }
}

function resume() {
  failures = 0;
  if (!source && !isLoggedOut) open();
}

if (place && state) {
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : resume()));
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => event.persisted && resume());
  window.addEventListener("online", resume);
  document.body.addEventListener("mailusers:logged-out", logOut);
  document.body.addEventListener("mailusers:logged-in", () => isLoggedOut && open());
  // Whoever has logged in again gets answers again.
  document.addEventListener("htmx:after:swap", ({ detail: { ctx } }) => {
    if (isLoggedOut && ctx.response?.status === 200 && !document.getElementById("mu-login")) open();
  });
  open();
}
