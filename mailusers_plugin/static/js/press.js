// What the page asked by itself is answered while somebody may be pressing a button: words that appear in between push
// the button away from under the pointer, and the browser then takes the press for none. Such answers wait for its end.
import "./htmx.js";
import { isBackground } from "./session.js";

let pressed = null; // A promise, as long as the main button or a finger is down.
let release = null;

function press({ button, isPrimary }) {
  if (button !== 0 || !isPrimary || pressed) return;
  pressed = new Promise((resolve) => (release = resolve));
}

function end({ isPrimary }) {
  if (!isPrimary || !pressed) return;
  // The click follows the end of the press in the same task.
  setTimeout(release);
  pressed = null;
}

document.addEventListener("pointerdown", press, true);
document.addEventListener("pointerup", end, true);
document.addEventListener("pointercancel", end, true);
window.addEventListener("blur", () => end({ isPrimary: true }));

document.addEventListener("htmx:config:request", ({ detail: { ctx } }) => {
  if (!isBackground(ctx)) return;
  ctx.fetch = async (...request) => {
    const response = await fetch(...request);
    while (pressed) await pressed;
    return response;
  };
});
