"use strict";

// Tables: a header's button sorts by its column, numbers downwards first.
for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    header.replaceChildren(button);
    button.addEventListener("click", () => sort(table, headers, column));
  });
}

function sort(table, headers, column) {
  const body = table.tBodies[0];
  const value = (row) => row.cells[column].dataset.value;
  const numbers = [...body.rows].some((row) => value(row) !== undefined);
  const first = numbers ? "descending" : "ascending";
  const other = numbers ? "ascending" : "descending";
  const now = headers[column].getAttribute("aria-sort") === first ? other : first;
  const sign = now === "ascending" ? 1 : -1;
  const compare = (a, b) => numbers
    ? value(a) - value(b)
    : a.cells[column].textContent.localeCompare(b.cells[column].textContent, undefined, { numeric: true });
  body.append(...[...body.rows].sort((a, b) => sign * compare(a, b)));
  headers.forEach((header) => header.removeAttribute("aria-sort"));
  headers[column].setAttribute("aria-sort", now);
}

// Links into closed details open them; browsers that do so by themselves need no help.
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const details = target && target.closest("details");
  if (!details) return;
  for (let each = details; each; each = each.parentElement.closest("details")) each.open = true;
  details.querySelector("summary").focus({ preventScroll: true });
  details.scrollIntoView({ block: "nearest" });
}
addEventListener("hashchange", reveal);
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#cell-']");
  if (link && link.hash === location.hash) reveal();  // the same cell once more
});
reveal();

// Contents: the section that is being read.
const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    links.forEach((link) => link.removeAttribute("aria-current"));
    links.get(target.id).setAttribute("aria-current", "true");
  }
}, { rootMargin: "-20% 0px -70% 0px" });
document.querySelectorAll("main > section").forEach((section) => seen.observe(section));
