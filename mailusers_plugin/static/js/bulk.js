// How many users are chosen for what is done to several at once.
import "./htmx.js";

function count() {
  const number = document.getElementById("mu-bulk-number");
  if (number) number.value = document.querySelectorAll('#mu-list input[name="email"][form="mu-bulk"]:checked').length;
}

count();
document.addEventListener("change", ({ target }) => {
  if (target.matches?.('#mu-list input[type="checkbox"]')) count();
});
document.addEventListener("htmx:after:swap", count);
