"use strict";
// Sorting and filtering. Everything is there and readable without this script.
for (const bar of document.querySelectorAll(".toolbar [hidden]")) bar.hidden = false;

function valueOf(row, column) {
  const cell = row.cells[column];
  return "sort" in cell.dataset ? cell.dataset.sort : cell.textContent.trim();
}

function compare(a, b) {
  const x = parseFloat(a), y = parseFloat(b);
  if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1; // what is unknown comes last
  return Number.isNaN(x) ? a.localeCompare(b) : x - y;
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (!head.dataset.kind) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending" ||
        (head.dataset.kind === "higher" && !head.hasAttribute("aria-sort"));
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      const known = rows.filter((row) => valueOf(row, column) !== "");
      const unknown = rows.filter((row) => valueOf(row, column) === "");
      const text = head.dataset.kind === "text";
      known.sort((a, b) => {
        const order = text ? valueOf(a, column).localeCompare(valueOf(b, column)) : compare(valueOf(a, column), valueOf(b, column));
        return down ? -order : order;
      });
      table.tBodies[0].append(...known, ...unknown);
    });
  });
}

for (const input of document.querySelectorAll("input[data-filters]")) {
  const part = document.getElementById(input.dataset.filters);
  const count = part.querySelector(".count");
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const each of part.querySelectorAll("[data-name]")) {
      const name = each.dataset.name.toLowerCase();
      each.hidden = !words.every((word) => name.includes(word));
      if (!each.hidden && each.matches("table.ranking tr")) shown += 1;
    }
    count.textContent = words.length ? `${shown} shown` : "";
  });
}
