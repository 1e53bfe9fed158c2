// Forms: the server's words while typing, focus on what is wrong, and nothing sent twice.
import "./htmx.js";

const ours = document.getElementById("mu");
const kept = new Map(); // Passwords that were sent, until the answer is there: no answer brings one back.
const sent = new Map(); // Forms that were sent and have no answer yet, by request.

function improve(root) {
  // The server says what is wrong, in its own words and in the reader's language.
  for (const form of root.querySelectorAll("form.mu-form")) form.noValidate = true;
  for (const control of root.querySelectorAll(":is([data-mu-show], [data-mu-dismiss])[hidden]")) control.hidden = false;
}

// Number and unit of a quota go together: a number is not unlimited, and what is unlimited has no number.
function matchQuota({ target, type }) {
  if (type === "change" && target.matches?.("[data-mu-unit]") && target.value === "unlimited") {
    const number = document.getElementById(target.dataset.muUnit);
    if (number) number.value = "";
  } else if (type === "input" && target.matches?.("input[name=quota_number]") && target.value) {
    const unit = target.form?.querySelector("[data-mu-unit]");
    if (unit?.value === "unlimited") unit.value = "G";
  }
}

function ask(event) {
  const { ctx } = event.detail;
  const field = ctx.sourceElement.dataset?.muCheck;
  const body = ctx.request.body;
  if (!field) {
    const form = ctx.request.form;
    if (form?.matches(".mu-form") && body?.has?.("password") && !form.closest("#mu-login")) {
      kept.set(ctx, { action: form.getAttribute("action"), password: body.get("password") });
    }
    return;
  }
  // Only what the answer depends on leaves the page.
  const needed = { email: ["email", "restore"], password: ["password", "email"], quota: ["quota_number", "quota_unit"] };
  for (const name of new Set(body.keys())) {
    if (name !== "_xsrf" && !needed[field].includes(name)) body.delete(name);
  }
  body.set("field", field);
  const isWrong = document.getElementById(ctx.sourceElement.id)?.getAttribute("aria-invalid") === "true";
  if (ctx.sourceEvent?.type === "input" && !isWrong) body.set("typing", "1");
}

function showFault(input, note) {
  if (note.querySelector(".mu-fault")) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
}

const noteOf = (source) => document.getElementById(`${source.dataset?.muUnit ?? source.id}-note`);
const consentIn = (note) => (note?.querySelector(".mu-fault") ? undefined : note?.querySelector("input[name=restore]")?.value);

// Whoever agrees while the same question is on its way again is not asked anew.
function isAsked({ ctx }) {
  const asked = ctx.sourceElement?.dataset?.muCheck === "email" && consentIn(noteOf(ctx.sourceElement));
  return Boolean(asked) && asked === consentIn(new DOMParser().parseFromString(ctx.text, "text/html"));
}

function remember({ detail: { ctx } }) {
  const form = ctx.request.form;
  if (form?.matches(".mu-form") && !ctx.sourceElement.dataset?.muCheck) sent.set(ctx, form);
}

function forget({ detail: { ctx } }) {
  kept.delete(ctx);
  sent.delete(ctx);
}

// What is wrong in a form that was sent is said by the answer to the whole, which takes its place. Who was told before would
// mend what is about to go, and send it while nothing is sent a second time.
function isSent({ ctx }) {
  const { sourceElement } = ctx;
  return Boolean(sourceElement?.dataset?.muCheck) && [...sent.values()].includes(sourceElement.closest("form"));
}

function answered(event) {
  const { ctx } = event.detail;
  const source = ctx.sourceElement;
  if (source?.dataset?.muCheck) {
    const input = source.dataset.muUnit ? document.getElementById(source.dataset.muUnit) : source;
    const note = noteOf(source);
    if (input && note) showFault(input, note);
    return;
  }
  improve(ours);
  if (!ctx.response || ctx.request.method !== "POST") return;
  const secret = kept.get(ctx);
  if (secret && ctx.response.status >= 400) {
    for (const form of ours.querySelectorAll("form.mu-form")) {
      const input = form.getAttribute("action") === secret.action && form.querySelector("input[name=password]");
      if (!input || input.value) continue;
      input.value = secret.password;
      // What the server thinks of it was said in the form that is gone.
      if (input.dataset.muCheck) input.dispatchEvent(new Event("change", { bubbles: true }));
    }
  }
  // What was done before is not said above what is wrong now; what it can be undone with stays.
  const status = document.getElementById("mu-status");
  if (ctx.response.status >= 400 && !status?.querySelector(".mu-undo")) status?.replaceChildren();
  if (document.querySelector("#mu-dialogs dialog")) return; // dialogs.js has put the focus where it belongs.
  const added = document.getElementById("mu-added");
  const wrong = ctx.response.status === 400 && ours.querySelector("#mu-add [aria-invalid=true]");
  (wrong || (ctx.request.action?.endsWith("/users/add") && ctx.response.status === 200 && added))?.focus?.();
}

// Without htmx, too, a second click sends nothing a second time.
function sendOnce(event) {
  const form = event.target;
  if (!form.matches("form.mu-form[method=post]:not([hx-post])")) return;
  if (form.dataset.muSent) event.preventDefault();
  else form.dataset.muSent = "1";
}

if (ours) {
  improve(ours);
  document.addEventListener("htmx:config:request", ask);
  document.addEventListener("htmx:before:request", remember);
  document.addEventListener("htmx:before:swap", (event) => {
    if (isSent(event.detail) || isAsked(event.detail)) event.preventDefault();
  });
  document.addEventListener("htmx:after:swap", answered);
  document.addEventListener("htmx:finally:request", forget);
  ours.addEventListener("submit", sendOnce);
  // Before htmx reads the fields.
  ours.addEventListener("change", matchQuota, true);
  ours.addEventListener("input", matchQuota, true);
  ours.addEventListener("click", (event) => {
    const control = event.target.closest("[data-mu-dismiss]");
    if (!control) return;
    document.getElementById(control.dataset.muDismiss)?.remove();
    document.getElementById(control.dataset.muFocus)?.focus();
  });
  // The back button brings a page as it was left.
  window.addEventListener("pageshow", () => {
    for (const form of ours.querySelectorAll("[data-mu-sent]")) delete form.dataset.muSent;
  });
}
