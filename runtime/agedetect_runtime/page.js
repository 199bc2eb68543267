"use strict";
// Sorts and filters the rows that the page holds. A cell's value is its data-value, or its text; rows without one are
// last, whichever way the others are sorted.
const table = document.getElementById("rows");
const body = table.tBodies[0];
const rows = Array.from(body.rows);
const heads = Array.from(table.tHead.rows[0].cells);
const field = (id) => document.getElementById(id);

function value(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent;
  if (text === "") return null;
  return heads[column].dataset.kind === "text" ? text : Number(text);
}

function compare(first, second) {
  return typeof first === "string" ? first.localeCompare(second, undefined, { numeric: true }) : first - second;
}

function sort(column) {
  const descending = heads[column].getAttribute("aria-sort") === "ascending";
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
  const keyed = rows.map((row, place) => [value(row, column), place, row]);
  keyed.sort(([first, before], [second, after]) => {
    if (first === null || second === null) return (first === null) - (second === null) || before - after;
    return (descending ? compare(second, first) : compare(first, second)) || before - after;
  });
  body.append(...keyed.map(([, , row]) => row));
}

function filter() {
  const text = field("text").value.toLowerCase();
  const from = field("from").value, to = field("to").value, kind = field("kind").value;
  let shown = 0;
  for (const row of rows) {
    const age = row.dataset.age;
    const inRange = (from === "" && to === "") ||
      (age !== undefined && (from === "" || Number(age) >= Number(from)) && (to === "" || Number(age) < Number(to)));
    const isKind = kind === "" || (kind === "age") === (age !== undefined);
    row.hidden = !(inRange && isKind && row.textContent.toLowerCase().includes(text));
    shown += !row.hidden;
  }
  field("shown").textContent = shown + " of " + rows.length + " rows";
}

heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => sort(column)));
field("filter").addEventListener("input", filter);
field("filter").addEventListener("submit", (event) => event.preventDefault());
field("filter").addEventListener("reset", () => setTimeout(filter));
for (const bar of document.querySelectorAll(".bars button")) {
  bar.addEventListener("click", () => {
    field("from").value = bar.dataset.from;
    field("to").value = bar.dataset.to;
    filter();
  });
}
filter();
