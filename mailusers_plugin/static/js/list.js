// The list: its address in the browser, and what must outlast its being exchanged.
import { isChanged, putBack } from "./fields.js";
import htmx from "./htmx.js";

const LIST = "mu-list";
let shown = here();
let waiting = false; // for a search or a page, before the list is read anew
let typing = false; // the present entry of the history is a search that goes on
let changed = ""; // who was changed here, until the list shows him or is another one
let told = ""; // of whom it was said that he is elsewhere
const refreshes = new WeakSet(); // requests for the list as it is
const begun = new WeakMap(); // of each request: how much had been edited
const edited = new Map(); // of each field's name: the last time it was
let edits = 0;

function here() {
  return location.pathname + location.search;
}

document.addEventListener("input", ({ target }) => {
  if (target.form?.id === "mu-filters") edited.set(target.name, ++edits);
});

// A refreshed list is the same one; the address says which. Whoever is not in it is said to be elsewhere.
document.addEventListener("htmx:config:request", ({ detail: { ctx } }) => {
  begun.set(ctx, edits);
  if (ctx.sourceElement.id !== LIST) return;
  const url = new URL(shown, location.href);
  if (changed) url.searchParams.set("email", changed);
  ctx.request.action = url.pathname + url.search;
  refreshes.add(ctx);
});

// While another list is on its way, a refresh would bring back the old one, or be dropped beside another refresh.
window.addEventListener(
  "mailusers:refresh",
  (event) => {
    changed = event.detail?.email || changed;
    if (!document.querySelector("#mu-list .htmx-request, #mu-list.htmx-request")) return;
    event.stopImmediatePropagation();
    waiting = true;
  },
  { capture: true },
);
document.addEventListener("htmx:finally:request", () => {
  if (!waiting) return;
  waiting = false;
  setTimeout(() => htmx.trigger(document.body, "mailusers:refresh"));
});

document.addEventListener("htmx:after:swap", ({ detail: { ctx } }) => {
  if (ctx.target?.id !== LIST || ctx.response?.status !== 200) return;
  const refreshed = refreshes.has(ctx);
  const typed = ctx.sourceEvent?.type === "input";
  if (ctx.hx?.pushurl && !refreshed) remember(ctx.hx.pushurl, typed);
  matchFields(typed || refreshed, begun.get(ctx));
  keepFocus();
  tellWhere();
});

function tellWhere() {
  const elsewhere = document.querySelector("#mu-list .mu-elsewhere");
  if (document.getElementById(`mu-row-${changed}`)) changed = "";
  if (!elsewhere) told = "";
  if (!elsewhere || told === changed) return;
  told = changed;
  document.getElementById("mu-live-said")?.replaceChildren(elsewhere.firstChild.textContent.trim());
}

// One step back leaves a search, however many letters it took.
function remember(address, typed) {
  if (address === here()) return;
  if (!history.state?.mailusers) history.replaceState({ ...history.state, mailusers: true }, "");
  history[typed && typing ? "replaceState" : "pushState"]({ mailusers: true }, "", address);
  typing = typed;
  shown = address;
  changed = "";
}
document.addEventListener("focusout", ({ target }) => {
  if (target.id === "mu-q") typing = false;
});

window.addEventListener("popstate", () => {
  const [path] = shown.split("?");
  if (here() === shown || location.pathname !== path || !document.getElementById(LIST)) return;
  shown = here();
  typing = false;
  changed = "";
  const since = edits;
  const options = { source: `#${LIST}`, target: `#${LIST}`, swap: "outerMorph" };
  htmx.ajax("GET", shown, options).then(() => matchFields(false, since));
});

// What somebody chose in a field outlasts the field's new attributes. What was edited since is newer than the list.
function matchFields(keepFocused, since) {
  for (const field of document.getElementById("mu-filters")?.elements ?? []) {
    const isKept = (keepFocused && field === document.activeElement) || edited.get(field.name) > since;
    if (!isKept) putBack(field);
    // The new list came with domains that go with nothing typed.
    else if (field.list && isChanged(field)) htmx.trigger(field, "input");
  }
  matchAll();
}

// The reader goes on at the head of the list, where the old place is gone or out of sight.
function keepFocus() {
  const heading = document.getElementById("mu-users");
  const focused = document.activeElement;
  if (focused === document.body) heading?.focus({ preventScroll: true });
  if ((focused === document.body || focused.closest(".mu-pages")) && heading?.getBoundingClientRect().top < 0) {
    heading.scrollIntoView();
  }
}

// The box above all boxes.
function boxes() {
  return [...document.querySelectorAll('#mu-list tbody .mu-choose input[name="email"]')];
}

function matchAll() {
  const all = document.querySelector("[data-mu-all]");
  if (!all) return;
  const chosen = boxes().filter((box) => box.checked).length;
  all.checked = chosen > 0 && chosen === boxes().length;
  all.indeterminate = chosen > 0 && !all.checked;
}

document.addEventListener("change", ({ target }) => {
  if (target.matches("[data-mu-all]")) {
    for (const box of boxes()) box.checked = target.checked;
    // Whoever counts the chosen ones hears of it once.
    boxes()[0]?.dispatchEvent(new Event("change", { bubbles: true }));
  } else if (target.matches('.mu-choose input[name="email"]')) {
    matchAll();
  }
});
