"use strict";
(function () {
  const data = JSON.parse(document.getElementById("cases").textContent);
  const body = document.getElementById("rows");
  const search = document.getElementById("search");
  const concern = document.getElementById("concern");
  const place = document.getElementById("place");
  const back = document.getElementById("back");
  const on = document.getElementById("on");
  const heads = Array.from(document.querySelectorAll("#table th button"));
  const compare = new Intl.Collator(undefined, { numeric: true }).compare;
  // Once, so that a key stroke looks through twenty thousand strings and builds none.
  const words = data.rows.map(function (row) {
    return row.v.filter(function (value) { return typeof value === "string"; }).concat(row.w).join(" ").toLowerCase();
  });
  let order = data.rows.map(function (_, n) { return n; });
  let found = order;
  let first = 0;
  let sorted = null;
  let falling = false;

  function shown(number) { return number.toLocaleString("en"); }

  function written(value, decimals) {
    if (value === null) { return "–"; }
    return decimals === null ? value : value.toFixed(decimals);
  }

  function cell(row, text, kind) {
    const made = row.insertCell();
    made.className = kind;
    made.textContent = text;
    if (typeof text === "string" && kind === "text") { made.title = text; }
    return made;
  }

  function draw() {
    const part = document.createDocumentFragment();
    for (const n of found.slice(first, first + data.page)) {
      const entry = data.rows[n];
      const row = document.createElement("tr");
      row.className = entry.c;
      const picture = document.createElement(entry.t ? "img" : "span");
      picture.className = entry.t ? "thumb" : "nothumb";
      if (entry.t) { picture.loading = "lazy"; picture.alt = ""; picture.src = entry.t; }
      row.insertCell().append(picture);
      entry.v.forEach(function (value, column) {
        const made = cell(row, written(value, data.decimals[column]), data.decimals[column] === null ? "text" : "");
        if (column === 0 && entry.r) {
          const link = document.createElement("a");
          link.href = entry.r;
          link.textContent = value;
          made.replaceChildren(link);
        }
      });
      cell(row, entry.w, "why");
      part.append(row);
    }
    body.replaceChildren(part);
    const last = Math.min(first + data.page, found.length);
    place.textContent = found.length ? shown(first + 1) + " to " + shown(last) + " of " + shown(found.length) : "no case";
    back.disabled = first === 0;
    on.disabled = last === found.length;
  }

  function pick() {
    const asked = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = concern.value;
    found = order.filter(function (n) {
      return (kind === "all" || data.rows[n].c === kind) &&
        asked.every(function (word) { return words[n].includes(word); });
    });
    first = 0;
    draw();
  }

  function sort(column) {
    falling = sorted === column ? !falling : column >= 0 && data.decimals[column] !== null;
    sorted = column;
    order = data.rows.map(function (_, n) { return n; });
    if (column < 0) {
      if (falling) { order.reverse(); }
    } else {
      const sign = falling ? -1 : 1;
      order.sort(function (a, b) {
        const x = data.rows[a].v[column];
        const y = data.rows[b].v[column];
        // What is missing comes last either way.
        if (x === null || y === null) { return (x === null) - (y === null); }
        return sign * (data.decimals[column] === null ? compare(x, y) : x - y);
      });
    }
    heads.forEach(function (head) {
      const own = Number(head.dataset.column) === column;
      head.parentElement.setAttribute("aria-sort", own ? (falling ? "descending" : "ascending") : "none");
    });
    pick();
  }

  heads.forEach(function (head) {
    head.addEventListener("click", function () { sort(Number(head.dataset.column)); });
  });
  search.addEventListener("input", pick);
  concern.addEventListener("change", pick);
  back.addEventListener("click", function () { first = Math.max(0, first - data.page); draw(); });
  on.addEventListener("click", function () { first += data.page; draw(); });
  document.getElementById("tools").hidden = false;
  pick();
})();
