"use strict";
// A button in every column's heading sorts its table; without scripts the headings stay plain text.
for (const table of document.querySelectorAll("table")) {
  const headings = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const asGiven = [...body.rows];
  if (asGiven.length < 2) continue;

  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort by this column";
    button.append(...heading.childNodes);
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      headings.forEach((other) => other.setAttribute("aria-sort", "none"));
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      body.append(...[...asGiven].sort((a, b) => compare(a.cells[column], b.cells[column], up)));
    });
  });
}

// Cells without a number come last, in either direction.
function compare(a, b, up) {
  const numeric = a.closest("table").tHead.rows[0].cells[a.cellIndex].classList.contains("number");
  const sign = up ? 1 : -1;
  if (!numeric) return sign * a.textContent.localeCompare(b.textContent, undefined, { numeric: true });
  const [x, y] = [a, b].map((cell) => parseFloat(cell.dataset.value));
  if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
  return sign * (x - y);
}
