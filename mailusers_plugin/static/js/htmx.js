// Our htmx, which looks at nothing but our own element and leaves a host's alone.
import { isChanged } from "./fields.js";
import { giveBack } from "./host-htmx.js";
import htmx from "../vendor/htmx-4.0.1.esm.min.js";

giveBack();
htmx.config.history = false; // list.js keeps the address; htmx would exchange the host's whole body.
htmx.config.includeIndicatorCSS = false;
document.adoptedStyleSheets = document.adoptedStyleSheets.filter((sheet) => sheet !== htmx.indicatorStyleSheet);

// htmx begins in a task of its own, with the whole body. All modules have run by then.
htmx.initialize = () => {
  const ours = document.getElementById("mu");
  if (!ours) return;
  htmx.process(ours);
  // Nobody has heard what was typed and chosen until now.
  for (const field of document.querySelectorAll("#mu-q, #mu-filters .mu-choice")) {
    if (isChanged(field)) field.dispatchEvent(new Event(isTyped(field) ? "input" : "change", { bubbles: true }));
  }
};

// A domain is chosen once its field is left; until then it is typed.
function isTyped(field) {
  return field.id === "mu-q" || (field.type === "search" && field === document.activeElement);
}

export default htmx;
