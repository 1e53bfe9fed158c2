// A server that is away: said in words, nothing sent again by itself, and the list loaded anew when it is back.
import "./htmx.js";
import { isBackground } from "./session.js";

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30000;
const UNREACHABLE = [502, 503, 504];
const PATIENCE_MS = 8000; // So long nobody wonders whether the server has heard.

let isLeaving = false;
let timer = null;
const waiting = new Map(); // What was sent and has no answer yet.

// Our answers depend on who asks and say so; a proxy's do not.
const isOurs = (response) => /\bHX-Request\b/i.test(response.headers.get("Vary") ?? "");

function say(name) {
  const text = document.getElementById(`mu-${name}`);
  if (!text) return;
  const places = [document.getElementById("mu-away"), [...document.querySelectorAll("#mu-dialogs dialog")].at(-1)];
  for (const place of places) {
    if (!place) continue;
    place.querySelector(":scope > .mu-away")?.remove();
    const message = text.content.firstElementChild.cloneNode(true);
    place.insertBefore(message, place.querySelector(":scope > header")?.nextSibling ?? place.firstChild);
  }
}

function isAway() {
  say("unreachable");
  if (timer === null) look(FIRST_PAUSE_MS);
}

function look(pause) {
  timer = setTimeout(async () => {
    try {
      // This very file: small, public, and from the server itself.
      const response = await fetch(import.meta.url, { method: "HEAD", cache: "no-store" });
      if (!UNREACHABLE.includes(response.status)) return isBack();
    } catch {
      // Still away.
    }
    look(Math.min(pause * 2, LONGEST_PAUSE_MS));
  }, pause);
}

function isBack() {
  clearTimeout(timer);
  timer = null;
  for (const message of document.querySelectorAll("#mu .mu-away")) message.remove();
  const status = document.getElementById("mu-status");
  const text = document.getElementById("mu-reachable");
  if (status && text) status.replaceChildren(text.content.cloneNode(true));
  document.body.dispatchEvent(new CustomEvent("mailusers:refresh", { bubbles: true }));
}

document.addEventListener("htmx:before:request", ({ detail: { ctx } }) => {
  if (!isBackground(ctx)) waiting.set(ctx, setTimeout(() => timer === null && say("waiting"), PATIENCE_MS));
});

document.addEventListener("htmx:finally:request", ({ detail: { ctx } }) => {
  clearTimeout(waiting.get(ctx));
  waiting.delete(ctx);
  if (!waiting.size) for (const message of document.querySelectorAll("#mu .mu-waiting")) message.remove();
});

document.addEventListener("htmx:error", (event) => {
  const { ctx, error } = event.detail;
  if (isLeaving || !ctx?.request || ctx.response) return;
  if (error instanceof TypeError || error?.name === "AbortError" || ctx.request.signal?.aborted) isAway();
});

document.addEventListener("htmx:before:swap", (event) => {
  const { response } = event.detail.ctx;
  if (!response || response.status < 400 || isOurs(response)) return;
  event.preventDefault();
  if (UNREACHABLE.includes(response.status)) isAway();
  else say("broken");
});

window.addEventListener("online", () => timer !== null && isBack());
window.addEventListener("pagehide", () => (isLeaving = true));
window.addEventListener("pageshow", () => (isLeaving = false));
