// What was changed, here or by others: the list is loaded anew, what is new in it is marked, and nobody's work is pulled away.
import "./htmx.js";

const GATHER_MS = 300; // Changes that come together are shown together,
const DISTANCE_MS = 2000; // and in a flood of them the list is loaded no more often than this.
const MARK_MS = 5000;
const SAY_MS = 10000; // Whoever listens is not talked over.
const OWN_MS = 10000; // So long a change of one's own may take to come back as news.
const BUSY_MS = 15000; // Who did nothing for so long is not working in a line.

const list = () => document.getElementById("mu-list");
const rows = () => [...document.querySelectorAll("#mu-list tr[data-email]")];
const isShown = (email) => rows().some((row) => row.dataset.email === email);

const news = new Set(); // Addresses that others changed and that the list does not show yet.
const own = new Map(); // Addresses that were changed here, with the time; the news of it is none.
const sent = new Map(); // Addresses in a form that is being sent, and whether news of them came before the answer.
const marks = new Map(); // Addresses whose line is marked, until when.
let timer = null;
let loadedAt = -DISTANCE_MS;
let saidAt = -SAY_MS;
let touchedAt = -BUSY_MS;

// Whether a line may be in the list, as far as that can be told without the server.
function mayBelong(email) {
  const state = new URLSearchParams(location.search);
  const isPlain = (text) => /^[\x21-\x7e]+$/.test(text); // The server looks for other text in other ways, too.
  const domain = (state.get("domain") ?? "").trim().toLowerCase();
  const query = (state.get("q") ?? "").trim().toLowerCase();
  if (isPlain(domain) && !email.toLowerCase().endsWith(`@${domain}`)) return false;
  return !isPlain(query) || email.includes("xn--") || email.toLowerCase().includes(query);
}

// Whether a new size may change what the list shows.
function mayMove(email) {
  const state = new URLSearchParams(location.search);
  const dependsOnSizes = /^-?(size|used)$/.test(state.get("sort") ?? "") || state.get("nearly_full") === "1";
  return isShown(email) || (dependsOnSizes && mayBelong(email));
}

function isOwn(email) {
  if (sent.has(email)) {
    sent.set(email, true);
    return true;
  }
  const since = own.get(email);
  own.delete(email);
  return since !== undefined && performance.now() - since < OWN_MS;
}

/**
 * Takes news from the server.
 * @param {{lines?: string[], sizes?: string[], everything?: boolean}} found - addresses of lines that changed or of
 *   which only the size is new, or that all may have changed
 */
export function report({ lines = [], sizes = [], everything = false }) {
  const foreign = lines.filter((email) => !isOwn(email));
  tellDialogs(foreign);
  // One's own are loaded as well: they may be the news of somebody else's change of the same line.
  const concerned = lines.filter((email) => isShown(email) || mayBelong(email));
  for (const email of concerned) if (foreign.includes(email)) news.add(email);
  if (everything || concerned.length || sizes.some(mayMove)) loadSoon();
}

function loadSoon() {
  if (timer === null) wait(Math.max(GATHER_MS, loadedAt + DISTANCE_MS - performance.now()));
}

function wait(pause) {
  timer = setTimeout(() => {
    // Of two loads at a time the second one would be dropped.
    if (isHeld() || list()?.classList.contains("htmx-request")) wait(GATHER_MS);
    else load();
  }, pause);
}

function load(email) {
  clearTimeout(timer);
  timer = null;
  loadedAt = performance.now();
  document.body.dispatchEvent(new CustomEvent("mailusers:refresh", { bubbles: true, detail: { email } }));
}

const isOpen = (dialog) => dialog instanceof HTMLDialogElement && dialog.open;
const dialogs = () => [...document.querySelectorAll("#mu-dialogs dialog")].filter(isOpen);
const subjects = (dialog) =>
  [...dialog.querySelectorAll("input[type=hidden][name=email]")].map((input) => input.value);

// Whether a line that has news is the one that somebody works with.
function isHeld() {
  if (dialogs().some((dialog) => subjects(dialog).some((email) => news.has(email)))) return true;
  const field = document.activeElement?.closest("#mu-list tr :is(input, select, textarea, details[open], [popover])");
  const email = field?.closest("tr[data-email]")?.dataset.email;
  return news.has(email) && performance.now() - touchedAt < BUSY_MS;
}

function worded(name, email = "") {
  const words = document.getElementById(`mu-live-${name}`).content.cloneNode(true);
  for (const place of words.querySelectorAll("[data-mu-email]")) place.textContent = email;
  return words;
}

function tellDialogs(emails) {
  for (const dialog of dialogs()) {
    const email = subjects(dialog).find((subject) => emails.includes(subject));
    if (!email || dialog.querySelector(":scope > .mu-meanwhile")) continue;
    const head = dialog.querySelector(":scope > header");
    if (head) head.after(worded("meanwhile", email));
    else dialog.prepend(worded("meanwhile", email));
  }
}

// Once a list was loaded: its news are marked and said.
function show(before) {
  const seen = [...news].filter((email) => before.has(email) || isShown(email));
  news.clear();
  for (const email of seen) mark(email);
  const said = document.getElementById("mu-live-said");
  if (!said || !seen.length || performance.now() - saidAt < SAY_MS) return;
  saidAt = performance.now();
  said.replaceChildren(seen.length === 1 ? worded("one", seen[0]) : worded("many"));
  setTimeout(() => said.replaceChildren(), SAY_MS);
}

function mark(email) {
  marks.set(email, performance.now() + MARK_MS);
  setTimeout(showMarks, MARK_MS + 50);
}

function showMarks() {
  const now = performance.now();
  for (const row of rows()) {
    const until = marks.get(row.dataset.email);
    if (until !== undefined) row.classList.toggle("mu-changed", now < until);
  }
  for (const [email, until] of marks) if (now >= until) marks.delete(email);
}

if (document.getElementById("mu-live") && list()) {
  // The address may stand in the answer of a form, or several of one that changed several.
  document.body.addEventListener("mailusers:changed", ({ detail }) => {
    for (const email of [detail?.email, ...(detail?.emails ?? [])].filter(Boolean)) {
      if (!news.delete(email) && !sent.has(email)) own.set(email, performance.now());
      mark(email);
    }
    load(detail?.email);
  });

  const addresses = ({ request: { method, body }, sourceElement }) =>
    method === "POST" && !sourceElement.dataset?.muCheck && body?.getAll
      ? [...body.getAll("email"), ...body.getAll("emails").flatMap((several) => several.split(/\r?\n/))]
      : [];
  document.addEventListener("htmx:before:request", ({ detail: { ctx } }) => {
    for (const email of addresses(ctx)) sent.set(email, false);
  });
  document.addEventListener("htmx:finally:request", ({ detail: { ctx } }) => {
    // What was done although its answer was lost is no news either.
    const isDone = !ctx.response || ctx.response.status === 200;
    for (const email of addresses(ctx)) {
      const came = sent.get(email);
      sent.delete(email);
      if (isDone && !came) own.set(email, performance.now());
      if (!isDone && came) report({ lines: [email] });
    }
  });

  let before = new Set();
  document.addEventListener("htmx:before:swap", ({ detail: { ctx } }) => {
    if (ctx.target === list()) before = new Set(rows().map((row) => row.dataset.email));
  });
  document.addEventListener("htmx:after:swap", ({ detail: { ctx } }) => {
    if (ctx.target?.id !== "mu-list" || ctx.response?.status !== 200) return;
    show(before);
    showMarks();
  });

  for (const name of ["keydown", "pointerdown", "input"]) {
    document.addEventListener(name, () => (touchedAt = performance.now()), { capture: true, passive: true });
  }
}
