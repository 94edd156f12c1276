// The cohort browser: a tree whose rows come from the kernel as they are scrolled into sight.

const ROW = 24;
const PAGE = 100;
const KEPT_PAGES = 40;
const MOST_PIXELS = 15_000_000;

function build({ root, send, state: current }) {
  let state = current();
  let pages = new Map();
  let asked = new Set();
  let focus = 0;
  let drawn = "";
  let scheduled = false;
  let fresh = false;
  let timer = null;
  const uid = Math.random().toString(36).slice(2);

  // --- what is on the page ---
  const search = el("input", { type: "search", placeholder: "search", "aria-label": "Search in all columns", oninput: () => {
    clearTimeout(timer);
    timer = setTimeout(() => send("search", { words: search.value }), 150);
  } });
  const found = el("span", { cls: "dl-quiet dl-says", role: "status" });
  const back = button("◂ back", "Back to the cohort above", () => send("back"));
  const openAll = button("open all", "Open every row", () => send("all", { open: true }));
  const closeAll = button("close all", "Close every row", () => send("all", { open: false }));
  const pickAll = button("pick all", "Pick every row that is found", () => send("pick", { how: "all" }));
  const pickNone = button("none", "Pick nothing", () => send("pick", { how: "none" }));
  const deeper = button("", "Ask the source what lies in the picked rows", () => send("deeper"));
  const retrieve = button("retrieve", "Retrieve what is picked", () => send("retrieve"), { cls: "dl-button dl-main" });
  const picked = el("span", { cls: "dl-says", role: "status" });
  const bar = progressBar(() => send("stop"));
  const said = el("div", { cls: "dl-quiet", role: "status" });
  const note = el("div", { cls: "dl-note", role: "status" });
  const head = el("div", { cls: "dl-tree-head", role: "row" });
  const rows = el("div", { cls: "dl-tree-rows", role: "rowgroup" });
  const box = el("div", { cls: "dl-tree", tabIndex: 0, role: "treegrid", "aria-label": "Cohort", "aria-multiselectable": "true" }, el("div", { role: "rowgroup" }, head), rows);
  root.append(
    el("div", { cls: "dl-bar" }, back, search, found, el("span", { cls: "dl-push" }), openAll, closeAll, pickAll, pickNone),
    box,
    el("div", { cls: "dl-bar" }, picked, deeper, retrieve),
    bar.node,
    said,
    note,
  );

  // --- rows ---
  const height = () => Math.min(state.rows * ROW, MOST_PIXELS);
  const scale = () => (state.rows * ROW) / Math.max(1, height()); // more rows than a page can be high are scrolled in strides
  const visibleRows = () => Math.ceil((box.clientHeight - ROW) / ROW);
  const first = () => clamp(Math.floor((box.scrollTop * scale()) / ROW), 0, Math.max(0, state.rows - 1));
  const rowOf = (index) => (pages.get(Math.floor(index / PAGE)) || [])[index % PAGE];
  const ask = (from, to) => {
    for (let page = Math.floor(from / PAGE); page <= Math.floor(Math.max(from, to - 1) / PAGE); page += 1) {
      if (page * PAGE >= state.rows || (pages.has(page) && !fresh) || asked.has(page)) continue;
      asked.add(page);
      send("rows", { version: state.version, start: page * PAGE, stop: (page + 1) * PAGE });
    }
  };
  const cells = (row, index) => {
    const [depth, opened, mark, within, label, ...texts] = row;
    const arrow = el("span", { cls: "dl-arrow", "aria-hidden": "true" }, opened < 0 ? "" : opened ? "▾" : "▸");
    const box_ = el("span", { cls: "dl-mark", "aria-hidden": "true" }, ["☐", "◪", "☑"][mark]);
    const name = el("div", { cls: "dl-cell dl-name", role: "rowheader", style: { paddingLeft: `${6 + 16 * depth}px` } }, arrow, box_, el("span", { cls: "dl-text", title: label }, label));
    if (within) name.append(el("span", { cls: "dl-quiet dl-within" }, within.toLocaleString("en")));
    const node = el("div", {
      cls: `dl-row dl-depth-${depth}${mark === 2 ? " dl-picked" : ""}${index === focus ? " dl-focus" : ""}`, role: "row", id: `${uid}-${index}`,
      "aria-level": depth + 1, "aria-selected": mark === 2 ? "true" : "false", "aria-rowindex": index + 2,
    }, name, texts.map((text) => el("div", { cls: "dl-cell", role: "gridcell", title: text }, text)));
    if (opened >= 0) node.setAttribute("aria-expanded", String(Boolean(opened)));
    return node;
  };
  const draw = () => {
    scheduled = false;
    if (!box.clientHeight) return; // not laid out now: the observer of its size calls again
    const from = Math.max(0, first() - 10);
    const to = Math.min(state.rows, first() + visibleRows() + 10);
    ask(Math.max(0, from - PAGE / 2), Math.min(state.rows, to + PAGE / 2));
    const offset = box.scrollTop - (box.scrollTop * scale()) ; // 0 unless in strides
    rows.style.height = `${height()}px`;
    const nodes = [];
    for (let index = from; index < to; index += 1) {
      const row = rowOf(index);
      const node = row ? cells(row, index) : el("div", { cls: "dl-row dl-blank", role: "row" }, el("div", { cls: "dl-cell", role: "gridcell" }, "…"));
      node.style.top = `${index * ROW + offset}px`;
      node.dataset.index = index;
      nodes.push(node);
    }
    if (!state.rows) nodes.push(el("div", { cls: "dl-row dl-quiet", role: "row" }, el("div", { cls: "dl-cell", role: "gridcell" }, state.words ? "nothing has these words" : "nothing was found")));
    rows.replaceChildren(...nodes);
    drawn = `${state.version} ${from} ${to}`;
    root.dataset.drawn = drawn;
    root.dataset.blank = String(nodes.filter((node) => node.classList.contains("dl-blank")).length);
    if (rowOf(focus) && focus >= from && focus < to) box.setAttribute("aria-activedescendant", `${uid}-${focus}`);
    else box.removeAttribute("aria-activedescendant");
  };
  const redraw = () => { if (!scheduled) { scheduled = true; requestAnimationFrame(draw); } };
  box.addEventListener("scroll", redraw, { passive: true });
  const size = new ResizeObserver(redraw);
  size.observe(box);

  // --- mouse and keyboard ---
  const pick = (row, how) => send("pick", { version: state.version, row, how });
  const toggle = (row, open) => send("toggle", { version: state.version, row, ...(open === undefined ? {} : { open }) });
  rows.addEventListener("click", (event) => {
    const node = event.target.closest("[data-index]");
    if (!node) return;
    const index = Number(node.dataset.index);
    focus = index;
    box.focus({ preventScroll: true });
    if (event.target.classList.contains("dl-arrow")) toggle(index);
    else if (event.shiftKey) pick(index, "range");
    else if (event.ctrlKey || event.metaKey || event.target.classList.contains("dl-mark")) pick(index, "toggle");
    else pick(index, "only");
    redraw();
  });
  rows.addEventListener("dblclick", (event) => {
    const node = event.target.closest("[data-index]");
    if (node && !event.target.classList.contains("dl-mark") && !event.target.classList.contains("dl-arrow")) toggle(Number(node.dataset.index));
  });
  const go = (index) => {
    focus = clamp(index, 0, Math.max(0, state.rows - 1));
    const top = first();
    if (focus < top) box.scrollTop = (focus * ROW) / scale();
    else if (focus >= top + visibleRows() - 1) box.scrollTop = ((focus - visibleRows() + 2) * ROW) / scale();
    redraw();
  };
  box.addEventListener("keydown", (event) => {
    if (event.altKey || event.target !== box) return;
    const row = rowOf(focus);
    const opened = row ? row[1] : -1;
    const parent = () => {
      for (let index = focus - 1; index >= 0; index -= 1) {
        const above = rowOf(index);
        if (!above || above[0] < row[0]) return index;
      }
      return focus;
    };
    const moves = {
      ArrowDown: () => go(focus + 1), ArrowUp: () => go(focus - 1), PageDown: () => go(focus + visibleRows() - 2), PageUp: () => go(focus - visibleRows() + 2),
      Home: () => go(0), End: () => go(state.rows - 1),
      ArrowRight: () => (opened === 0 ? toggle(focus, true) : go(focus + 1)),
      ArrowLeft: () => (opened === 1 ? toggle(focus, false) : row && go(parent())),
      Enter: () => toggle(focus), " ": () => pick(focus, event.shiftKey ? "range" : "toggle"), "/": () => search.focus(),
    };
    if (event.key === "a" && (event.ctrlKey || event.metaKey)) send("pick", { how: "all" });
    else if (event.key in moves) moves[event.key]();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  // --- head ---
  const sortBy = (name) => {
    const [by, way] = state.sort;
    const descending = by === name && way === 1;
    state = { ...state, sort: [name, descending ? -1 : 1] }; // the next click may come before the kernel has answered
    send("sort", { name, descending });
  };
  const heading = (name, text) => {
    const [by, way] = state.sort;
    const now = way !== 0 && by === name;
    const node = el("div", { cls: `dl-cell${name === "" ? " dl-name" : ""}`, role: "columnheader", "aria-sort": now ? (way > 0 ? "ascending" : "descending") : "none" });
    node.append(el("button", { type: "button", cls: "dl-sort", title: `Sort by ${text}`, onclick: () => sortBy(name) }, text, el("span", { "aria-hidden": "true" }, now ? (way > 0 ? " ▲" : " ▼") : "")));
    return node;
  };
  const number = (value) => value.toLocaleString("en");
  return {
    state(now) {
      const other = now.version !== state.version || !drawn;
      const elsewhere = now.levels.join() !== state.levels.join() || now.total !== state.total;
      state = now;
      if (other) {
        asked = new Set();
        fresh = true; // what is there stays in sight until what is asked now has come
        if (elsewhere) { pages = new Map(); box.scrollTop = 0; focus = 0; }
        head.replaceChildren(heading("", state.levels.join(" › ")), ...state.columns.map((name, at) => heading(name, state.headings[at])));
        const least = state.headings.map((text) => clamp(24 + 8 * text.length, 72, 200)); // so that a heading is read whole
        root.style.setProperty("--dl-columns", least.map((pixels) => `minmax(${pixels}px, 1fr)`).join(" "));
        root.style.setProperty("--dl-least", `${least.reduce((sum, pixels) => sum + pixels, 280)}px`);
        box.setAttribute("aria-rowcount", state.rows + 1);
        if (document.activeElement !== search) search.value = state.words;
      }
      setText(found, state.words ? `${number(state.found)} of ${number(state.total)} ${state.plural}` : `${number(state.total)} ${state.plural}${state.source ? ` in ${state.source}` : ""}`);
      back.hidden = !state.back;
      openAll.hidden = closeAll.hidden = state.levels.length < 2;
      setText(picked, state.picked ? `${number(state.picked)} ${state.plural} picked` : "nothing picked");
      deeper.hidden = !state.below;
      setText(deeper, `${state.below} ▸`);
      deeper.disabled = !state.picked || Boolean(state.progress);
      retrieve.hidden = !state.retrieves;
      retrieve.disabled = !state.picked || Boolean(state.progress);
      bar.show(state.progress);
      setText(said, state.said);
      setText(note, state.note || (state.cut ? `not complete: ${state.cut}` : ""));
      redraw();
    },
    message(message) {
      if (message.kind === "rows" && message.version === state.version) {
        const page = message.start / PAGE;
        asked.delete(page);
        if (fresh) { pages = new Map(); fresh = false; }
        pages.set(page, message.rows);
        if (pages.size > KEPT_PAGES) pages.delete(pages.keys().next().value);
        redraw();
      } else if (message.kind === "picked") {
        asked = new Set();
        fresh = true;
        redraw();
      }
    },
    seen: (visible) => { if (visible) redraw(); },
    goes: () => Boolean(state.progress),
    ended: () => { size.disconnect(); clearTimeout(timer); },
  };
}

export default { render: (context) => view(context, "browser", "Cohort browser", build) };
