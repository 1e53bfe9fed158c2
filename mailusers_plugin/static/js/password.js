// Passwords: shown, hidden, copied, and suggested from the browser's own randomness.
import "./htmx.js";

const GROUPS = 5;
const GROUP_LENGTH = 4;

function pick(alphabet) {
  // Bytes beyond the last whole multiple would make some characters likelier than others.
  const limit = 256 - (256 % alphabet.length);
  const byte = new Uint8Array(1);
  do crypto.getRandomValues(byte);
  while (byte[0] >= limit);
  return alphabet[byte[0] % alphabet.length];
}

export function suggestion(alphabet) {
  const group = () => Array.from({ length: GROUP_LENGTH }, () => pick(alphabet)).join("");
  return Array.from({ length: GROUPS }, group).join("-");
}

function show(input, isShown) {
  input.type = isShown ? "text" : "password";
  const button = document.querySelector(`[data-mu-show="${CSS.escape(input.id)}"]`);
  if (!button) return;
  button.setAttribute("aria-pressed", String(isShown));
  button.textContent = isShown ? button.dataset.muHideLabel : button.dataset.muShowLabel;
}

document.getElementById("mu")?.addEventListener("click", (event) => {
  const toggle = event.target.closest("[data-mu-show]");
  if (toggle) {
    const input = document.getElementById(toggle.dataset.muShow);
    show(input, input.type === "password");
    return;
  }
  const suggest = event.target.closest("[data-mu-suggest]");
  if (suggest) {
    event.preventDefault();
    const input = document.getElementById(suggest.dataset.muSuggest);
    input.value = suggestion(suggest.dataset.muAlphabet);
    show(input, true);
    input.dispatchEvent(new Event("input", { bubbles: true }));
  }
});

// Whoever sends the form does not leave the password on the screen, nor to a browser that keeps what stood in text fields.
document.addEventListener("htmx:finally:request", () => {
  for (const input of document.querySelectorAll("#mu input[name=password][type=text]")) {
    if (!input.value) show(input, false);
  }
});
