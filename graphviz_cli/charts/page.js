"use strict";
// Shows the numbers of the step under the pointer, and sorts the table of the leaves.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const svg = document.querySelector("svg.chart");
  const reading = document.getElementById("reading");
  const steps = data.columns.step;
  let shown = -1;

  function nearest(number) {
    let low = 0, high = steps.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (steps[middle] <= number) low = middle; else high = middle;
    }
    return number - steps[low] <= steps[high] - number ? low : high;
  }

  const cursor = document.createElementNS(svg.namespaceURI, "path");
  cursor.id = "cursor";

  function show(k) {
    shown = Math.max(0, Math.min(steps.length - 1, k));
    const share = (steps[shown] - data.first + data.every / 2) / data.span;
    const x = data.left + share * data.width;
    cursor.setAttribute("d", `M${x},0V${svg.viewBox.baseVal.height - 20}`);
    svg.append(cursor);
    reading.textContent = Object.entries(data.columns)
      .filter(([, column]) => column[shown] !== null)
      .map(([name, column]) => `${name} ${column[shown].toLocaleString("en")}`)
      .join("   ·   ");
  }

  if (steps.length) {
    reading.hidden = false;
    reading.textContent = "Point at a panel, or press the arrow keys, to read a step's numbers.";
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
      if (x >= data.left && x <= data.left + data.width) {
        const share = (x - data.left) / data.width;
        show(nearest(data.first - data.every / 2 + share * data.span));
      }
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "ArrowRight") show(shown + 1);
      else if (event.key === "ArrowLeft") show(shown - 1);
      else return;
      event.preventDefault();
    });
  }

  for (const head of document.querySelectorAll("th")) {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const falls = head.getAttribute("aria-sort") !== "descending";
      for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      const body = head.closest("table").tBodies[0];
      const key = (row) => row.cells[head.cellIndex].dataset.value ?? row.cells[0].textContent;
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        return head.cellIndex ? Number(x) - Number(y) : x < y ? -1 : x > y ? 1 : 0;
      };
      body.append(...[...body.rows].sort((a, b) => falls ? compare(b, a) : compare(a, b)));
    });
  }
})();
