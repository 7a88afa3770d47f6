"use strict";
// A link opens its section, and printing all of them.
const open = (section) => section?.querySelectorAll(":scope > details").forEach((part) => { part.open = true; });
const follow = () => { if (location.hash) open(document.querySelector(location.hash)); };
for (const link of document.querySelectorAll("nav a"))
  link.addEventListener("click", () => open(document.querySelector(link.hash)));
addEventListener("hashchange", follow);
addEventListener("beforeprint", () => document.querySelectorAll("section").forEach(open));
follow();
// A click on a title sorts the rows by that column, another click reverses. Cells without a value stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;
  heads.forEach((head, column) => {
    head.firstElementChild.addEventListener("click", () => {
      const isNumber = head.classList.contains("number");
      const order = head.getAttribute("aria-sort") ?? (isNumber ? "ascending" : "descending");
      const sign = order === "ascending" ? -1 : 1;
      const rows = [...table.tBodies[0].rows].sort((first, second) => {
        const [a, b] = [key(first, column), key(second, column)];
        if (a === "" || b === "") return (a === "") - (b === "");
        return sign * (isNumber ? a - b : a.localeCompare(b, undefined, { numeric: true }));
      });
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign < 0 ? "descending" : "ascending");
      table.tBodies[0].append(...rows);
    });
  });
}
