(async () => {
  "use strict";
  // The numbers of figures are packed: base64 of gzip.
  const packed = Uint8Array.from(atob(document.getElementById("report-data").textContent), letter => letter.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const folded = await new Response(unpacked).json(), parts = [];
  // What occurs again is written once, in `parts`, each of which refers to earlier ones only.
  const unfold = node => {
    if (Array.isArray(node)) return node.map(unfold);
    if (!node || typeof node !== "object") return node;
    return "$" in node ? parts[node.$] : Object.fromEntries(Object.entries(node).map(([key, one]) => [key, unfold(one)]));
  };
  folded.parts.forEach(part => parts.push(unfold(part)));
  const given = unfold(folded.whole);
  const tables = {};
  for (const [name, set] of Object.entries(given.data))
    tables[name] = set.rows.map(row => Object.fromEntries(set.columns.map((column, i) => [column, row[i]])));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const views = new Map();
  const each = (selector, act, root = document) => root.querySelectorAll(selector).forEach(act);

  function names(spec, found = new Set()) {
    if (spec && typeof spec === "object") {
      if (spec.data && spec.data.name) found.add(spec.data.name);
      Object.values(spec).forEach(part => names(part, found));
    }
    return found;
  }
  function legends(spec, found = []) {
    if (spec && typeof spec === "object") {
      if (spec.legend) found.push(spec.legend);
      Object.values(spec).forEach(part => legends(part, found));
    }
    return found;
  }
  // As many panels beside each other as the page has room for; what is wider than the page is made narrower.
  function fit(spec, width) {
    if (spec.vconcat) spec.vconcat.forEach(part => fit(part, width));
    else if (spec.facet && spec.columns) {
      const inner = spec.spec.width, gap = spec.spacing.column;
      spec.columns = Math.max(1, Math.min(spec.columns, Math.floor((width + gap) / (inner + gap))));
    } else if (spec.concat) {
      const beside = spec.usermeta.beside; // axes and names to the left of each panel
      const inner = Math.min(spec.concat.length < 3 ? 400 : spec.concat[0].width, width - beside);
      spec.concat.forEach(part => { part.width = inner; });
      spec.columns = Math.max(1, Math.min(spec.columns, Math.floor((width + 20) / (inner + beside + 16))));
    } else if (spec.width) spec.width = Math.min(spec.width, width - 62);
    return spec;
  }
  async function draw(figure) {
    const name = figure.dataset.spec;
    if (views.has(name)) return views.get(name);
    const live = figure.querySelector(".live");
    if (!window.vegaEmbed) {
      // A repository of reports need not keep the script: the pictures that need none stay.
      if (!figure.querySelector("svg, img")) {
        live.textContent = "Drawn by a script that `ebm-vs-prob report --all` puts beside the reports.";
      }
      return undefined;
    }
    const room = figure.closest("details:not([open])") ? document.querySelector("main") : figure;
    const width = Math.max(240, room.clientWidth);
    const spec = JSON.parse(JSON.stringify(given.specs[name]));
    if (!name.startsWith("criterion_") && !name.startsWith("every_")) fit(spec, width);
    if (width < 560) {
      spec.config.legend.labelLimit = width - 50;
      legends(spec).forEach(legend => { legend.columns = 1; });
    }
    spec.datasets = {};
    names(spec).forEach(key => { spec.datasets[key] = tables[key]; });
    views.set(name, null);
    const label = live.getAttribute("aria-label");
    const result = await window.vegaEmbed(live, spec, {
      mode: "vega-lite", renderer: "svg", actions: false, tooltip: { theme: dark.matches ? "dark" : "light" },
    });
    views.set(name, result.view);
    live.setAttribute("role", "img");
    live.setAttribute("aria-label", label);
    each("svg", svg => { svg.setAttribute("aria-hidden", "true"); svg.removeAttribute("role"); }, live);
    figure.classList.add("on");
    set(figure);
    return result.view;
  }

  // ---- what the reader sets
  const state = { arms: null };
  async function set(figure) {
    const view = views.get(figure.dataset.spec);
    if (!view) return;
    const put = (signal, value) => { try { view.signal(signal, value); } catch (_) { /* a figure without it */ } };
    const controls = figure.querySelector(".controls");
    if (controls) {
      const chosen = kind => [...controls.querySelectorAll(`[data-kind=${kind}] input:checked`)].map(box => box.value);
      each(".slider", slider => {
        const range = slider.querySelector("input"), said = slider.dataset.values.split("|")[+range.value];
        put(slider.dataset.signal, +range.value);
        range.setAttribute("aria-valuetext", said);
        slider.querySelector("output").textContent = said;
        if (slider.dataset.signal === "beta") slider.hidden = chosen("reading")[0] !== "density";
      }, controls);
      if (chosen("reading").length) put("reading", chosen("reading")[0]);
      put("points", chosen("points"));
      put("arms", chosen("arms"));
    } else if (state.arms && !figure.dataset.spec.startsWith("criterion_") && !figure.dataset.spec.startsWith("every_")) {
      put("arms", state.arms);
    }
    await view.resize().runAsync(); // what is said below panels takes room
    each("svg", svg => svg.setAttribute("aria-hidden", "true"), figure.querySelector(".live"));
  }
  // Without the script that draws nothing follows what is set here: still pictures stand, and a line says what writes it.
  each(`figure[data-spec] ${window.vegaEmbed ? ".controls" : ".undrawn"}`, part => { part.hidden = false; });
  each("figure[data-spec] .controls", controls => {
    controls.addEventListener("input", () => set(controls.closest("figure")));
  });
  each(".arm-filter", filter => {
    filter.hidden = false;
    filter.addEventListener("input", event => {
      each(".arm-filter input", box => { if (box.value === event.target.value) box.checked = event.target.checked; });
      state.arms = [...new Set([...document.querySelectorAll(".arm-filter input:checked")].map(box => box.value))];
      each("tr[data-arm]", row => { row.hidden = !state.arms.includes(row.dataset.arm); });
      each("figure[data-spec].on", figure => { if (!figure.querySelector(".controls")) set(figure); });
    });
  });

  // ---- tables: columns, order
  each(".grid", grid => {
    const table = grid.querySelector("table"), heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
    function sort(index, down) {
      const key = row => row.cells[index].dataset.key, sign = down ? -1 : 1;
      const value = row => (key(row) === "" ? null : +key(row));
      [...body.rows].sort((a, b) => {
        const x = value(a), y = value(b);
        if (x === null && y === null) return sign * a.cells[index].textContent.localeCompare(b.cells[index].textContent);
        return x === null ? 1 : y === null ? -1 : sign * (x - y);
      }).forEach(row => body.append(row));
      heads.forEach((head, i) => head.setAttribute("aria-sort", i === index ? (down ? "descending" : "ascending") : "none"));
    }
    heads.forEach((head, index) => head.querySelector("button").addEventListener("click", () =>
      sort(index, head.getAttribute("aria-sort") === "ascending")));
    grid.querySelector(".tools").hidden = false;
    grid.querySelector(".tools select").addEventListener("change", event => sort(+event.target.value, false));
    grid.querySelector(".columns").addEventListener("input", event => {
      const index = +event.target.value;
      [heads[index], ...[...body.rows].map(row => row.cells[index])].forEach(cell => {
        cell.classList.toggle("off", !event.target.checked);
      });
    });
  });

  // ---- drawing: what is seen first, the rest when the browser has nothing to do, all of it before it is printed
  const figures = [...document.querySelectorAll("figure[data-spec]")];
  const seen = new IntersectionObserver(entries => entries.forEach(entry => {
    if (entry.isIntersecting) { seen.unobserve(entry.target); draw(entry.target); }
  }), { rootMargin: "300px" });
  figures.forEach(figure => seen.observe(figure));
  const idle = window.requestIdleCallback || (act => setTimeout(act, 200));
  const rest = figures.slice();
  const next = () => { const figure = rest.shift(); if (figure) draw(figure).finally(() => idle(next)); };
  if (document.readyState === "complete") idle(next);
  else addEventListener("load", () => idle(next));
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach(part => { part.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach(part => { part.open = false; }));
  // A link into what is folded unfolds it.
  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  if (location.hash) reveal();
  document.documentElement.classList.add("scripted");
})();
