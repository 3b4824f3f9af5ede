"use strict";
(() => {
  const WIDTH = 1200;
  const CHARACTER_WIDTH = 7;
  const boxes = [...document.querySelectorAll("svg g")].map((group) => {
    const rect = group.querySelector("rect");
    const title = group.querySelector("title").textContent;
    return {
      group,
      rect,
      text: group.querySelector("text"),
      name: title.slice(0, title.lastIndexOf(": ")),
      x: Number(rect.getAttribute("x")),
      y: Number(rect.getAttribute("y")),
      width: Number(rect.getAttribute("width")),
    };
  });

  // Shows *box* at full width, with its callers above and its callees below.
  const zoom = (box) => {
    const scale = WIDTH / box.width;
    const end = box.x + box.width;
    for (const other of boxes) {
      const isAbove = other.y < box.y && other.x <= box.x + 0.01 && other.x + other.width >= end - 0.01;
      const isInside = other.y >= box.y && other.x >= box.x - 0.01 && other.x + other.width <= end + 0.01;
      other.group.style.display = isAbove || isInside ? "" : "none";
      other.group.classList.toggle("above", isAbove);
      const x = isAbove ? 0 : (other.x - box.x) * scale;
      const width = isAbove ? WIDTH : other.width * scale;
      other.rect.setAttribute("x", x.toFixed(2));
      other.rect.setAttribute("width", width.toFixed(2));
      other.text.setAttribute("x", (x + 3).toFixed(2));
      const count = Math.floor((width - 6) / CHARACTER_WIDTH);
      const short = count >= 3 ? other.name.slice(0, count - 1) + "…" : "";
      other.text.textContent = count >= other.name.length ? other.name : short;
    }
  };

  const search = document.getElementById("search");
  search.addEventListener("input", () => {
    const wanted = search.value.toLowerCase();
    let found = 0;
    for (const box of boxes) {
      const isFound = wanted !== "" && box.name.toLowerCase().includes(wanted);
      box.group.classList.toggle("found", isFound);
      found += isFound ? 1 : 0;
    }
    document.getElementById("matched").textContent = wanted === "" ? "" : `${found} frames`;
  });
  document.getElementById("reset").addEventListener("click", () => zoom(boxes[0]));
  for (const box of boxes) {
    box.group.addEventListener("click", () => zoom(box));
  }
})();
