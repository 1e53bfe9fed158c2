// Times in the reader's own zone. The server writes them in UTC, which is what stands there without this script.
import "./htmx.js";

// The page knows the language, the browser also where its reader lives.
const TAG = document.getElementById("mu")?.lang;
const LANGUAGE = navigator.languages.find((tag) => TAG && (tag === TAG || tag.startsWith(`${TAG}-`))) ?? (TAG || undefined);
const SHOWN = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "medium", timeStyle: "short" });
const ZONE = new Intl.DateTimeFormat(LANGUAGE, { timeZoneName: "short" });

// The name depends on the day: in summer it is another one.
const zoneName = (time) => ZONE.formatToParts(time).find((part) => part.type === "timeZoneName").value;

function show() {
  for (const element of document.querySelectorAll("#mu time[data-mu-time]")) {
    const time = new Date(element.dateTime);
    if (!Number.isNaN(time.valueOf())) element.textContent = `${SHOWN.format(time)} ${zoneName(time)}`;
  }
}

show();
document.addEventListener("htmx:after:swap", show);
