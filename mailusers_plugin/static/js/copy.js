// Buttons that copy: <button data-mu-copy="id of what" data-mu-done="what to say then" hidden>. Without scripts they are
// not there. Where a browser has no clipboard for us, as without TLS, the old way is tried.

function prepare(root) {
  for (const button of root.querySelectorAll("[data-mu-copy][hidden]")) {
    button.hidden = false;
    said(button);
  }
}

// Says it to those who hear; in a dialog, for what is outside of an open one is silent.
function said(button) {
  const place = button.closest("dialog") ?? document.getElementById("mu");
  let region = place.querySelector(":scope > [data-mu-said]");
  if (!region) {
    region = document.createElement("p");
    region.className = "mu-hidden";
    region.dataset.muSaid = "";
    region.setAttribute("role", "status");
    place.append(region);
  }
  return region;
}

async function write(element) {
  const text = element.value ?? element.textContent;
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return writeOldWay(element);
  }
}

function writeOldWay(element) {
  const before = document.activeElement;
  if (element.select) element.select();
  else getSelection().selectAllChildren(element);
  const copied = document.execCommand("copy");
  if (copied) {
    getSelection().removeAllRanges();
    before?.focus();
  }
  return copied; // If not, it is marked, and the reader's own keys copy it.
}

document.addEventListener("click", async ({ target }) => {
  const button = target.closest?.("[data-mu-copy]");
  const element = button && document.getElementById(button.dataset.muCopy);
  if (!element || !(await write(element))) return;
  button.classList.add("mu-copied");
  button.dataset.muLabel ??= button.firstChild.textContent;
  button.firstChild.textContent = said(button).textContent = button.dataset.muDone;
  clearTimeout(button.muTimer);
  button.muTimer = setTimeout(() => {
    button.classList.remove("mu-copied");
    button.firstChild.textContent = button.dataset.muLabel;
    said(button).textContent = "";
  }, 2500);
});

document.addEventListener("htmx:after:process", ({ target }) => target.querySelectorAll && prepare(target));
prepare(document);
