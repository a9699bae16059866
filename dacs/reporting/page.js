// What the page does besides being read: it sorts tables, and switches protocol, method, step and classes.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  document.documentElement.classList.add("js");

  const numeric = (text) => Number.parseFloat(text.replace("\u2212", "-").replaceAll(",", ""));
  const collator = new Intl.Collator("en", { numeric: true });

  function compare(a, b) {
    const [x, y] = [numeric(a), numeric(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? collator.compare(a, b) : x - y;
  }

  // Rows of totals stay below, and so do cells without a value.
  function sort(table, column, ascending) {
    const text = (row) => row.cells[column].textContent.trim();
    const last = (row) => row.classList.contains("total") ? 2 : text(row).startsWith("\u2013") ? 1 : 0;
    for (const body of table.tBodies) {
      const rows = [...body.rows];
      rows.sort((a, b) => last(a) - last(b) || last(a) < 2 && (ascending ? 1 : -1) * compare(text(a), text(b)));
      body.append(...rows);
    }
  }

  for (const table of all("table.sortable")) {
    const heads = all("thead th", table);
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const isNumber = [...table.tBodies[0].rows].some((row) => !Number.isNaN(numeric(row.cells[column].textContent)));
        const before = head.getAttribute("aria-sort");
        const ascending = before === "none" ? !isNumber || column === 0 : before === "descending";
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        sort(table, column, ascending);
      });
    });
  }

  // Calls `show` with the value of the chosen radio button, now and after each change; browsers restore choices.
  function onChoice(name, show) {
    const choices = all(`input[name="${name}"]`);
    const update = () => choices.filter((choice) => choice.checked).forEach((choice) => show(choice.value));
    choices.forEach((choice) => choice.addEventListener("change", update));
    update();
  }

  onChoice("protocol", (id) => {
    for (const parent of new Set(all("[data-protocol]").map((part) => part.parentNode))) {
      const parts = [...parent.children].filter((part) => part.dataset.protocol !== undefined);
      const shown = parts.find((part) => part.dataset.protocol === id) ?? parts[0]; // a task may not have it
      parts.forEach((part) => { part.hidden = part !== shown; });
    }
  });

  // An image of which the chosen method has no prediction is not shown.
  onChoice("method", (name) => all("#predictions .steps").forEach((block) => {
    const tiles = all("[data-of]", block);
    tiles.forEach((tile) => { tile.hidden = name !== "" && tile.dataset.of !== name; });
    block.hidden = tiles.every((tile) => tile.hidden);
  }));

  for (const choice of all("select[data-choose]")) {
    const figures = all("[data-class]", choice.closest("section"));
    const update = () => figures.forEach((figure) => { figure.hidden = figure.dataset.class !== choice.value; });
    choice.addEventListener("change", update);
    update();
  }

  const slider = document.getElementById("step");
  if (slider) {
    const steps = slider.dataset.steps.split(" ").map(Number);
    const update = () => {
      const step = steps[slider.value];
      slider.nextElementSibling.value = step.toLocaleString("en");
      slider.setAttribute("aria-valuetext", `step ${step}`);
      for (const block of all("#mixing .steps")) {
        const groups = all("[data-step]", block);
        const shown = groups.filter((group) => group.dataset.step <= step).pop() ?? groups[0];
        groups.forEach((group) => { group.hidden = group !== shown; });
      }
    };
    slider.addEventListener("input", update);
    update();
  }

  // Buttons of a legend: pixels of classes that are not chosen become gray.
  for (const legend of all(".legend").filter((list) => list.querySelector("[data-color]"))) {
    const section = legend.closest("section");
    const chosen = new Set();
    let changes = 0;
    for (const item of all("[data-color]", legend)) {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", "false");
      button.append(...item.childNodes);
      item.append(button);
      button.addEventListener("click", async () => {
        const pressed = chosen.delete(item.dataset.color) === false;
        if (pressed) chosen.add(item.dataset.color);
        button.setAttribute("aria-pressed", String(pressed));
        const change = ++changes;
        for (const image of all("[data-shows=classes] img", section)) {
          const source = await dimmed(image, chosen);
          if (change !== changes) return;
          image.src = source;
        }
      });
    }
  }

  async function dimmed(image, colors) {
    image.dataset.whole ??= image.src;
    if (!colors.size) return image.dataset.whole;
    const whole = new Image();
    whole.src = image.dataset.whole;
    await whole.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [whole.width, whole.height];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(whole, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < pixels.data.length; i += 4) {
      const color = pixels.data.subarray(i, i + 3);
      if (!colors.has(color.join(","))) color.forEach((value, channel) => { color[channel] = 96 + 0.12 * value; });
    }
    context.putImageData(pixels, 0, 0);
    return canvas.toDataURL();
  }

  const closed = () => all("details:not([open])");
  let opened = [];
  addEventListener("beforeprint", () => { opened = closed(); opened.forEach((part) => { part.open = true; }); });
  addEventListener("afterprint", () => { opened.forEach((part) => { part.open = false; }); });
})();
