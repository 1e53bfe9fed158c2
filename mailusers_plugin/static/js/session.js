// A session that ended: whoever sends something is asked to log in. What the page asks by itself, while somebody may be
// typing, opens no dialog and takes the focus from nobody.
import htmx from "./htmx.js";

const BY_ITSELF = ["input", "every", "mailusers:refresh"]; // events that nobody means to send something with
const TOKENS = "#mu input[name=_xsrf], .mailusers-header input[name=_xsrf]";

export function isBackground({ sourceElement, sourceEvent }) {
  return Boolean(sourceElement.dataset?.muCheck) || BY_ITSELF.includes(sourceEvent?.type);
}

/** Makes a link to the log-in lead back to the page as it is now. */
export function prepare(place) {
  for (const link of place.querySelectorAll("[data-mu-login]")) {
    const url = new URL(link.href);
    url.searchParams.set("next", location.pathname + location.search);
    link.href = url;
  }
  htmx.process(place);
}

// Says it where the answer would stand, once.
function say({ sourceElement, response, text }) {
  const state = document.getElementById("mu-live-state");
  const place = state ?? sourceElement;
  if (state && response.status === 401) {
    document.body.dispatchEvent(new CustomEvent("mailusers:logged-out"));
    return;
  }
  const words = new DOMParser().parseFromString(text, "text/html").querySelector(".mu-aside");
  const old = place.querySelector(":scope > .mu-aside");
  if (!words || old?.textContent === words.textContent) return;
  if (state) state.replaceChildren(words);
  else {
    old?.remove();
    place.prepend(words);
  }
  prepare(place);
}

// The words below a field are put there by htmx; the same ones are not said at every letter.
const isSaid = ({ target, text }) => target?.querySelector(".mu-aside")?.outerHTML === text.trim();

document.addEventListener("htmx:config:request", ({ detail: { ctx } }) => {
  if (isBackground(ctx)) ctx.request.headers["Mailusers-Background"] = "true";
});

document.addEventListener("htmx:after:request", ({ detail: { ctx } }) => {
  // Where the browser has lost its token, the forms that are on the page get the new one.
  const token = ctx.response.headers.get("X-XSRFToken");
  if (token) for (const input of document.querySelectorAll(TOKENS)) input.value = token;
});

document.addEventListener("htmx:before:swap", (event) => {
  const { ctx } = event.detail;
  if (!ctx.response || ctx.response.status < 400 || !isBackground(ctx) || ctx.hx?.retarget) return;
  const isCheck = Boolean(ctx.sourceElement.dataset?.muCheck);
  if (isCheck && !isSaid(ctx)) return;
  event.preventDefault();
  if (!isCheck) say(ctx);
});

function forget() {
  for (const words of document.querySelectorAll("#mu .mu-aside")) words.remove();
}

document.addEventListener("htmx:after:swap", ({ detail: { ctx } }) => {
  if (ctx.target?.id === "mu-list" && ctx.response?.status === 200) forget();
});
document.body.addEventListener("mailusers:logged-in", forget);

// Whoever comes back from a tab in which he has logged in goes on here.
async function look() {
  const link = document.querySelector("#mu [data-mu-look]");
  if (document.hidden || !link) return;
  const headers = { Accept: "text/event-stream" };
  const response = await fetch(link.dataset.muLook, { method: "HEAD", headers, cache: "no-store" }).catch(() => null);
  if (!response?.ok || !link.isConnected) return;
  link.closest("dialog#mu-login")?.close();
  const words = document.getElementById("mu-logged-in");
  if (words) document.getElementById("mu-status")?.replaceChildren(words.content.cloneNode(true));
  document.body.dispatchEvent(new CustomEvent("mailusers:logged-in"));
}

// A page that the browser kept whole and shows again after "back": who has logged out meanwhile sees nothing of it.
window.addEventListener("pageshow", async (event) => {
  const ours = document.getElementById("mu");
  const url = ours?.dataset.muSession;
  if (!event.persisted || !url) return;
  ours.hidden = true;
  const headers = { Accept: "text/event-stream" };
  const response = await fetch(url, { method: "HEAD", headers, cache: "no-store" }).catch(() => null);
  if (response?.ok) ours.hidden = false;
  else location.reload();
});

document.addEventListener("visibilitychange", look);
window.addEventListener("focus", look);
