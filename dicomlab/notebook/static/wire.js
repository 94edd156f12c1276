// The wire, live. The kernel holds the trace; this page asks for the rows that it shows.
const ROW = 26, AHEAD = 20, IDLE_MS = 5000, BUSY_MS = 500;

function make(tag, cls, text, attributes = {}) {
  const made = document.createElement(tag);
  if (cls) made.className = cls;
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function build({ root, send, state: given }) {
  const mark = `dlw${Math.random().toString(36).slice(2)}`;
  const state = { total: 0, of: 0, octets: 0, dropped: 0, parties: [], protocols: [], rows: new Map(), active: 0, ticket: 0, waiting: false, again: false };

  root.classList.add("dlw");
  const bar = make("div", "dlw-bar");
  const filter = make("input", "", undefined, { type: "search", placeholder: "filter", "aria-label": "Filter messages by text" });
  const protocol = make("select", "", undefined, { "aria-label": "Protocol" });
  protocol.append(new Option("all protocols", ""));
  const only = make("label");
  const trouble = make("input", "", undefined, { type: "checkbox" });
  only.append(trouble, " only trouble");
  const counted = status({ cls: "dlw-status" });
  bar.append(make("b", "", "Wire"), filter, protocol, only, counted.node);

  const head = make("div", "dlw-head", undefined, { "aria-hidden": "true" });
  const lanes = make("div", "dlw-lanes");
  head.append(make("div", "dlw-number", "ms"), make("div", "dlw-number", "octets"), make("div", "", "state"), lanes);

  const list = make("div", "dlw-list", undefined, { role: "listbox", tabindex: "0", "aria-label": "Messages: arrows to move, Enter to open, Escape to close" });
  const room = make("div");
  room.style.position = "relative";
  room.setAttribute("role", "presentation");
  list.append(room);
  const opened = make("div", "dlw-open", undefined, { role: "region", "aria-label": "The open message", tabindex: "0" });
  opened.hidden = true;
  root.append(bar, head, list, opened);
  let pace = BUSY_MS;
  const part = (at) => at / Math.max(state.parties.length - 1, 1);  // of the way from the first lifeline to the last
  const place = (at) => `calc(8px + ${part(at)} * (100% - 16px))`;
  const height = () => { list.style.height = `${Math.max(4 * ROW, given().height)}px`; };

  function ask() {
    if (state.waiting) { state.again = true; return; }
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - AHEAD);
    const count = Math.ceil(list.clientHeight / ROW) + 2 * AHEAD;
    state.waiting = true;
    state.ticket += 1;
    send("rows", { ticket: state.ticket, start: first, count, text: filter.value, protocol: protocol.value, trouble: trouble.checked });
  }

  function draw() {
    room.style.height = `${state.total * ROW}px`;
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - AHEAD);
    const last = Math.min(state.total, first + Math.ceil(list.clientHeight / ROW) + 2 * AHEAD);
    const shown = document.createDocumentFragment();
    for (let at = first; at < last; at += 1) {
      const row = state.rows.get(at);
      if (row) shown.append(line(row, at));
    }
    room.replaceChildren(shown);
    if (state.rows.has(state.active)) list.setAttribute("aria-activedescendant", `${mark}-${state.active}`);
    else list.removeAttribute("aria-activedescendant");
    const more = state.total === state.of ? `${state.of.toLocaleString()} messages` : `${state.total.toLocaleString()} of ${state.of.toLocaleString()} messages`;
    const said = `${more}, ${state.octets.toLocaleString()} octets${state.dropped ? `; ${state.dropped.toLocaleString()} older ones fell out of the ring` : ""}`;
    counted.say(said);
  }

  function line([number, ms, size, step, from, to, text, bad], at) {
    const who = from < 0 ? "" : `${state.parties[from]} to ${state.parties[to]}, `;
    const label = `${number}, ${ms} milliseconds, ${who}${text}${bad ? `, trouble: ${bad}` : ""}${step ? `, ${step}` : ""}`;
    const row = make("div", `dlw-row${bad ? " dlw-bad" : ""}${from < 0 ? " dlw-plan" : ""}`, undefined, {
      role: "option", id: `${mark}-${at}`, "aria-posinset": at + 1, "aria-setsize": state.total,
      "aria-selected": String(at === state.active), "aria-label": label, title: text });
    row.style.top = `${at * ROW}px`;
    row.dataset.at = at;
    const lane = make("div", "dlw-lanes");
    state.parties.forEach((_, party) => { const life = make("div", "dlw-life"); life.style.left = place(party); lane.append(life); });
    const said = make("div", "dlw-text", `${bad ? "⚠ " : ""}${text}`);
    if (from >= 0) {
      const [left, right] = from < to ? [from, to] : [to, from];
      const arrow = make("div", `dlw-arrow${from > to ? " back" : ""}`);
      arrow.style.left = place(left);
      arrow.style.width = `calc(${part(right) - part(left)} * (100% - 16px))`;
      said.style.left = `calc(${place(left)} + 8px)`;
      said.style.right = `calc(100% - ${place(right)} + 8px)`;
      lane.append(arrow);
    }
    lane.append(said);
    row.append(make("div", "dlw-number", ms.toFixed(1)), make("div", "dlw-number", size ? size.toLocaleString() : ""), make("div", "", step), lane);
    return row;
  }

  function header() {
    lanes.replaceChildren(...state.parties.map((name, at) => {
      const one = make("span", "", name, { title: name });
      one.style.left = place(at);
      one.style.transform = `translateX(${-100 * part(at)}%)`;  // the outermost stay inside
      return one;
    }));
    const known = new Set([...protocol.options].map((one) => one.value));
    for (const name of state.protocols) if (!known.has(name)) protocol.append(new Option(name, name));
  }

  function move(to) {
    if (!state.total) return;
    state.active = Math.min(Math.max(to, 0), state.total - 1);
    const top = state.active * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
    draw();
    ask();
  }

  function open() {
    const row = state.rows.get(state.active);
    if (row) send("open", { number: row[0] });
  }

  function close() {
    if (opened.hidden) return;
    opened.hidden = true;
    opened.replaceChildren();
    send("closed");
    list.focus();
  }

  function show(one) {
    opened.hidden = false;
    const title = make("p");
    title.append(make("b", one.trouble ? "dlw-bad" : "", `${one.trouble ? "⚠ " : ""}${one.number}: ${one.title}`), one.who ? ` ${one.who}, ${one.size.toLocaleString()} octets` : "", `${one.state ? `, our state ${one.state}` : ""}`);
    const parts = [title];
    if (one.sentence) parts.push(make("p", "", one.sentence));
    const sides = make("div", "dlw-sides");
    const table = make("table", "dlw-fields");
    table.append(make("caption", "", "Fields: point at one, or move with the arrows, to see its octets"));
    const names = make("tr");
    for (const name of ["field", "value", "meaning", "octets", "standard"]) names.append(make("th", "", name, { scope: "col" }));
    const top = make("thead");
    top.append(names);
    const body = make("tbody");
    one.fields.forEach(([depth, name, value, meaning, where, section, start, end], at) => {
      const row = make("tr", "", undefined, { tabindex: at ? "-1" : "0" });
      row.dataset.start = start;
      row.dataset.end = end;
      const first = make("td", "", name);
      first.style.paddingLeft = `${depth * 1.2}em`;
      row.append(first, ...[value, meaning, where, section].map((text) => make("td", "", text)));
      body.append(row);
    });
    table.append(top, body);
    const octets = dump(one);
    sides.append(table, octets);
    if (one.fields.length) cross(body, octets);
    parts.push(one.fields.length ? sides : octets);
    if (one.curl) {
      const copy = make("button", "", "copy as curl", { type: "button" });
      const shown = make("pre", "dlw-curl", one.curl, { tabindex: "0" });
      copy.addEventListener("click", () => navigator.clipboard?.writeText(one.curl).then(() => { copy.textContent = "copied"; }, () => {}));
      parts.push(copy, shown);
    }
    opened.replaceChildren(...parts);
  }

  function dump(one) {
    const count = one.octets.length / 2;
    const shown = make("pre", "dlw-octets", undefined, { tabindex: "0", "aria-label": `The first ${count} octets` });
    const hidden = (at) => one.hidden.some(([from, to]) => at >= from && at < to);
    for (let start = 0; start < count; start += 16) {
      const letters = document.createDocumentFragment();
      shown.append(`${start.toString(16).padStart(4, "0")}  `);
      for (let at = start; at < start + 16; at += 1) {
        if (at >= count) { shown.append("   "); continue; }
        const number = one.octets.slice(2 * at, 2 * at + 2), code = parseInt(number, 16);
        const cells = [make("span", "", hidden(at) ? "··" : number), make("span", "", hidden(at) ? "·" : code >= 32 && code < 127 ? String.fromCharCode(code) : ".")];
        for (const cell of cells) cell.dataset.at = at;
        shown.append(cells[0], " ");
        letters.append(cells[1]);
      }
      shown.append(" ", letters, "\n");
    }
    if (one.size > count) shown.append(`… ${(one.size - count).toLocaleString()} more octets`);
    return shown;
  }

  function cross(body, octets) {
    const cells = [...octets.querySelectorAll("span")];
    const light = (start, end, row) => {
      cells.forEach((cell) => cell.classList.toggle("hot", +cell.dataset.at >= start && +cell.dataset.at < end));
      for (const one of body.rows) one.classList.toggle("hot", one === row);
    };
    const of = (row) => { if (row) light(+row.dataset.start, +row.dataset.end, row); };
    body.addEventListener("pointerover", (event) => of(event.target.closest("tr")));
    body.addEventListener("focusin", (event) => of(event.target.closest("tr")));
    body.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      const row = event.target.closest("tr"), next = step && body.rows[row.sectionRowIndex + step];
      if (!next) return;
      event.preventDefault();
      event.stopPropagation();
      row.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
    octets.addEventListener("pointerover", (event) => {
      const at = event.target.dataset?.at;
      if (at === undefined) return;
      const holds = [...body.rows].filter((row) => +row.dataset.start <= +at && +at < +row.dataset.end);
      const row = holds.sort((a, b) => (a.dataset.end - a.dataset.start) - (b.dataset.end - b.dataset.start))[0];
      if (row) { of(row); row.scrollIntoView({ block: "nearest" }); }
    });
  }

  function answered(message) {
    if (message.kind === "open") return show(message);
    if (message.kind !== "rows") return;
    state.waiting = false;
    if (message.ticket === state.ticket) {
      const grown = message.of !== state.of;
      const other = message.parties.join("\n") !== state.parties.join("\n") || message.protocols.length !== state.protocols.length;
      Object.assign(state, { total: message.total, of: message.of, octets: message.octets, dropped: message.dropped, parties: message.parties, protocols: message.protocols });
      state.rows = new Map(message.rows.map((row, at) => [message.start + at, row]));
      state.active = Math.min(state.active, Math.max(state.total - 1, 0));
      if (other) header();
      draw();
      pace = grown ? BUSY_MS : Math.min(pace * 1.5, IDLE_MS);
    }
    if (state.again) { state.again = false; ask(); }
  }

  const refilter = () => { list.scrollTop = 0; state.active = 0; ask(); };
  filter.addEventListener("input", refilter);
  protocol.addEventListener("change", refilter);
  trouble.addEventListener("change", refilter);
  list.addEventListener("scroll", () => { draw(); ask(); });
  list.addEventListener("click", (event) => {
    const row = event.target.closest(".dlw-row");
    if (row) { move(+row.dataset.at); open(); }
  });
  list.addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
    const to = { ArrowDown: state.active + 1, ArrowUp: state.active - 1, PageDown: state.active + page, PageUp: state.active - page, Home: 0, End: state.total - 1 }[event.key];
    if (to !== undefined) move(to);
    else if (event.key === "Enter") open();
    else if (event.key === "Escape") close();
    else if (event.key === "/") filter.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  opened.addEventListener("keydown", (event) => { if (event.key === "Escape") { event.stopPropagation(); close(); } });

  // Asks again while it is seen: soon where it grows, seldom where nothing comes, never where nobody looks.
  let timer = 0;
  const tick = () => {
    state.waiting = false;
    ask();
    timer = setTimeout(tick, pace);
  };
  return {
    state: height,
    message: answered,
    seen: (visible) => { clearTimeout(timer); if (visible) tick(); },
    ended: () => clearTimeout(timer),
  };
}

export default { render: (context) => view(context, "wire", "Wire trace", build) };
