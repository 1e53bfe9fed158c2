// While somebody presses a button nothing may come between it and the pointer, or push it away: the browser then takes the
// press for none. What the page asked by itself may be answered then, with words that need room; such answers wait for the
// end of the press, and so does whatever other modules give to whenReleased.
import "./htmx.js";
import { isBackground } from "./session.js";

let pressed = null; // A promise, as long as the main button or a finger is down.
let release = null;

export function whenReleased(work) {
  if (pressed) pressed.then(work);
  else work();
}

function press({ button, isPrimary }) {
  if (button !== 0 || isPrimary === false || pressed) return;
  pressed = new Promise((resolve) => (release = resolve));
}

function end({ isPrimary }) {
  if (isPrimary === false || !pressed) return;
  // The click follows the end of the press in the same task.
  setTimeout(release);
  pressed = null;
}

document.addEventListener("pointerdown", press, true);
document.addEventListener("pointerup", end, true);
document.addEventListener("pointercancel", end, true);
// A finger has been lifted already when these come, and with them the focus.
document.addEventListener("mousedown", press, true);
document.addEventListener("mouseup", end, true);
window.addEventListener("blur", end);

document.addEventListener("htmx:config:request", ({ detail: { ctx } }) => {
  if (!isBackground(ctx)) return;
  ctx.fetch = async (...request) => {
    const response = await fetch(...request);
    while (pressed) await pressed;
    return response;
  };
});
