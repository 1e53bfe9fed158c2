// Our htmx, which looks at nothing but our own element and leaves a host's alone.
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
  const search = document.getElementById("mu-q");
  if (search && search.value !== search.defaultValue) search.dispatchEvent(new Event("input", { bubbles: true }));
  const chosen = [...document.querySelectorAll("#mu-filters .mu-choice")].find(isChanged);
  chosen?.dispatchEvent(new Event("change", { bubbles: true }));
};

function isChanged(field) {
  if (field.type === "checkbox") return field.checked !== field.defaultChecked;
  if (field.matches("select")) return field.value !== (field.querySelector("[selected]")?.value ?? "");
  return field.value !== field.defaultValue;
}

export default htmx;
