// Dialogs: the server puts them into #mu-dialogs. Here they are opened and closed, and focus goes back to where it was.
import "./htmx.js";

const place = document.getElementById("mu-dialogs");
const openers = new WeakMap(); // What had the focus before a dialog opened, by dialog.
let asked = null; // What asked for the dialog that is still on its way.
let returned = null; // Where focus was given back to, until it moves on.

// A control may be gone or replaced by the time the dialog closes: its line and its address find it, or its neighbours.
function describe(element) {
  if (!(element instanceof HTMLElement) || element === document.body) return null;
  const row = element.closest("tr[id]");
  const next = row?.nextElementSibling ?? row?.previousElementSibling;
  return { element, row: row?.id, next: next?.id, href: element.getAttribute("href"), id: element.id };
}

function focused(element) {
  element?.focus();
  return Boolean(element) && document.activeElement === element;
}

function giveBack(opener) {
  returned = opener;
  if (!opener || (opener.element.isConnected && focused(opener.element))) return;
  if (opener.id && focused(document.getElementById(opener.id))) return;
  const row = document.getElementById(opener.row) ?? document.getElementById(opener.next);
  const links = row ? [...row.querySelectorAll("a[href]")] : [];
  if (focused(links.find((link) => link.getAttribute("href") === opener.href))) return;
  // In a menu that is closed nothing takes the focus but its button.
  if (focused(row?.querySelector("summary")) || links.some(focused)) return;
  const last = row ?? document.getElementById("mu-list") ?? document.getElementById("mu");
  if (!last) return;
  last.tabIndex = -1;
  focused(last);
}

function firstControl(dialog) {
  return (
    dialog.querySelector("[aria-invalid=true]") ??
    dialog.querySelector("[autofocus]") ??
    dialog.querySelector("form:not([method=dialog]) :is(input:not([type=hidden], [hidden]), select, textarea):enabled") ??
    dialog.querySelector("form [type=submit]:not([hidden]), .mu-buttons a, .mu-buttons button")
  );
}

function open(dialog, opener) {
  openers.set(dialog, opener);
  dialog.showModal();
  firstControl(dialog)?.focus();
}

function follow(changes) {
  const nodes = (list) => changes.flatMap((change) => [...change[list]]);
  const dialogs = (list) => nodes(list).filter((node) => node instanceof HTMLDialogElement);
  const gone = dialogs("removedNodes").filter((dialog) => !dialog.isConnected);
  // An answer with faults takes the place of the dialog that was sent.
  const before = gone.map((dialog) => openers.get(dialog)).find(Boolean);
  const came = dialogs("addedNodes").filter((dialog) => dialog.isConnected && !dialog.open);
  for (const dialog of came) {
    open(dialog, before ?? asked ?? describe(document.activeElement));
  }
  if (gone.length && !came.length) giveBack(before ?? null);
}

if (place) {
  new MutationObserver(follow).observe(place, { childList: true });

  place.addEventListener("click", (event) => {
    const control = event.target.closest("[data-mu-close]");
    if (!control) return;
    event.preventDefault();
    control.closest("dialog")?.close();
  });

  // Escape and Cancel end here. The event does not bubble.
  place.addEventListener("close", (event) => event.target.remove(), true);

  document.addEventListener("htmx:before:request", (event) => {
    const { ctx } = event.detail;
    if (ctx.target === place && !place.querySelector("dialog")) asked = describe(ctx.sourceElement);
  });
  document.addEventListener("htmx:finally:request", () => (asked = null));

  document.addEventListener("htmx:before:swap", (event) => {
    // Of several requests without a session the first one asks to log in.
    if (event.detail.ctx.response?.status === 401 && document.getElementById("mu-login")) event.preventDefault();
  });

  // A list that was loaded anew may have taken the control away that had the focus.
  document.addEventListener("htmx:after:swap", () => {
    if (returned && document.activeElement === document.body && !place.querySelector("dialog")) giveBack(returned);
  });
  for (const name of ["keydown", "pointerdown"]) {
    document.addEventListener(name, () => (returned = null), true);
  }
}
