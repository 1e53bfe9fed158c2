// What was done and what went wrong stays in sight: where the top of the page, in which it stands, is not, it comes to the
// foot of the window. There it stays until it is closed or something else is said, and covers nothing that has the focus.
import "./htmx.js";
import { whenReleased } from "./press.js";

const GAP = 12;

const frame = document.getElementById("mu-notices");
const anchor = document.getElementById("mu-notices-place");
const close = frame?.querySelector("[data-mu-clear]");
let isInSight = true;
let beside = null; // what has the frame next to it in the order of the Tab key

const texts = () => [...frame.querySelectorAll("#mu-status > *, #mu-away > *:not(template)")];
const isFloating = () => frame.matches(":popover-open");

function arrange() {
  const isWanted = texts().length > 0;
  const isOverlaid = document.querySelector("#mu-dialogs dialog[open]") !== null;
  close.hidden = !isWanted;
  if (isWanted && !isInSight && !isOverlaid) float();
  else if (isFloating()) frame.hidePopover();
}

function float() {
  const focused = document.activeElement;
  const isLost = beside && !beside.isConnected;
  if (isFloating() && !isLost) return;
  if (isFloating()) frame.hidePopover();
  beside = frame.contains(focused) || focused === document.body ? null : focused;
  // Where the browser can, the Tab key leads there next.
  frame.showPopover(beside ? { source: beside } : undefined);
  uncover(focused);
}

function uncover(element) {
  if (!isFloating() || element === document.body || frame.contains(element)) return;
  const [place, other] = [frame.getBoundingClientRect(), element.getBoundingClientRect()];
  const hidden = other.bottom + GAP - place.top;
  if (other.height > place.top || hidden <= 0 || other.right < place.left || other.left > place.right) return;
  scroller(element).scrollBy({ top: hidden, behavior: "instant" });
}

// A host may let a part of its page scroll in place of the window.
function scroller(element) {
  const scrolls = (box) => box.scrollHeight > box.clientHeight && /auto|scroll/.test(getComputedStyle(box).overflowY);
  let box = element.parentElement;
  while (box && !scrolls(box)) box = box.parentElement;
  return box ?? document.scrollingElement;
}

function clear() {
  const hadFocus = frame.contains(document.activeElement);
  for (const text of texts()) text.remove();
  arrange();
  const next = beside?.isConnected ? beside : document.getElementById("mu-users");
  if (hadFocus) next?.focus({ preventScroll: true });
}

if (frame && frame.showPopover) {
  const arrangeSoon = () => whenReleased(arrange);
  frame.popover = "manual";
  new IntersectionObserver(
    ([{ isIntersecting }]) => {
      isInSight = isIntersecting;
      arrangeSoon();
    },
    // A host may have a bar at the top of the window.
    { rootMargin: "-50px 0px 0px 0px" },
  ).observe(anchor);
  const observer = new MutationObserver(arrangeSoon);
  observer.observe(frame, { childList: true, subtree: true });
  observer.observe(document.getElementById("mu-dialogs"), { childList: true });
  document.addEventListener("htmx:after:swap", arrangeSoon);
  // What is pressed gets the focus, and would be gone from under the pointer.
  document.addEventListener("focusin", () => whenReleased(() => uncover(document.activeElement)));
  document.addEventListener("keydown", ({ key }) => {
    if (key === "Escape" && frame.contains(document.activeElement)) clear();
  });
  close.addEventListener("click", clear);

  // Whoever takes an archiving back goes on with the line that came back.
  let undone = "";
  document.addEventListener("htmx:before:request", ({ detail: { ctx } }) => {
    undone = ctx.sourceElement.matches(".mu-undo") ? ctx.sourceElement.elements.email.value : undone;
  });
  document.addEventListener("htmx:after:swap", ({ detail: { ctx } }) => {
    if (ctx.target?.id !== "mu-list" || !undone) return;
    const line = document.getElementById(`mu-row-${undone}`);
    undone = "";
    if (document.activeElement === document.body) line?.querySelector("a[href], summary")?.focus();
  });
}
