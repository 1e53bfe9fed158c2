// Runs before our htmx, which puts itself into window.htmx: a host may have one of its own, of another version.
const theirs = Object.getOwnPropertyDescriptor(window, "htmx");

export function giveBack() {
  if (theirs) Object.defineProperty(window, "htmx", theirs);
  else delete window.htmx;
}
