// One data set as a table: words cut it down, sequences fold.

const SHOWN = 1000;

function build({ root, state }) {
  let rows = [];
  const folded = new Set();
  const search = el("input", { type: "search", placeholder: "search: tag, keyword, value, meaning", "aria-label": "Search the elements", oninput: () => draw() });
  const counted = status({ cls: "dl-quiet dl-push" });
  const title = el("div", { cls: "dl-title" });
  const body = el("tbody");
  const names = ["tag", "keyword", "VR", "value", "meaning"].map((name) => el("th", { scope: "col" }, name));
  const table = el("table", { cls: "dl-rows dl-elements" }, el("thead", {}, el("tr", {}, names)), body);
  const note = el("div", { cls: "dl-more" });
  root.append(title, el("div", { cls: "dl-bar" }, search, counted.node), el("div", { cls: "dl-scroll dl-tall", tabIndex: 0, role: "region", "aria-label": "Elements" }, table), note);

  /** The rows that hold all words, with the sequences around them. */
  function found(words) {
    const keep = new Set();
    rows.forEach((row, at) => {
      if (!words.every((word) => row.text.includes(word))) return;
      for (let above = at; above >= 0; above = rows[above].parent) keep.add(above);
    });
    return keep;
  }

  function draw() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const keep = words.length ? found(words) : null;
    const hidden = new Set();
    const shown = [];
    let count = 0;
    rows.forEach((row, at) => {
      if (hidden.has(row.parent)) { hidden.add(at); return; }
      if (!words.length && folded.has(at)) hidden.add(at);
      if (keep && !keep.has(at)) return;
      count += 1;
      if (shown.length < SHOWN) shown.push(line(row, at, !words.length));
    });
    body.replaceChildren(...shown);
    counted.say(words.length ? `${count.toLocaleString()} of ${rows.length.toLocaleString()} elements` : `${rows.length.toLocaleString()} elements`);
    setText(note, count > SHOWN ? `… ${(count - SHOWN).toLocaleString()} more: search for them` : "");
  }

  function line(row, at, folds) {
    const [depth, tag, keyword, vr, value, meaning] = row.cells;
    const first = el("td", { cls: "dl-tag", style: { paddingLeft: `${depth * 1.2}em` } });
    if (row.holds && folds) {
      const open = !folded.has(at);
      const toggle = () => { if (open) folded.add(at); else folded.delete(at); draw(); body.querySelector(`[data-at="${at}"]`)?.focus(); };
      first.append(el("button", { type: "button", cls: "dl-fold", "aria-expanded": String(open), "aria-label": `${open ? "fold" : "open"} ${keyword || tag}`, "data-at": at, onclick: toggle }, open ? "▾" : "▸"));
    }
    first.append(tag);
    return el("tr", {}, first, [keyword, vr, value, meaning].map((text) => el("td", {}, text)));
  }

  return {
    alone: true, // all of it is here
    state: (given) => {
      const above = [];
      rows = given.rows.map((cells, at) => {
        const depth = cells[0];
        above.length = depth;
        const parent = depth ? above[depth - 1] : -1;
        above[depth] = at;
        return { cells, parent, holds: false, text: cells.slice(1).join(" ").toLowerCase() };
      });
      for (const row of rows) if (row.parent >= 0) rows[row.parent].holds = true;
      folded.clear();
      rows.forEach((row, at) => { if (row.holds) folded.add(at); });
      setText(title, given.title);
      draw();
    },
  };
}

export default { render: (context) => view(context, "data-set", "Elements of a data set", build) };
