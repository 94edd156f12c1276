// The stack viewer. Planes of whole numbers come once each and are kept; windowing, zoom and overlay are made here.

const KEPT_OCTETS = 384 << 20;
const IN_FLIGHT = 12;
const AHEAD = 24;
const BEHIND = 8;
const AXES = ["z", "y", "x"];
const COLOURS = [
  [230, 85, 60], [60, 150, 230], [80, 190, 90], [245, 190, 40], [170, 90, 220], [30, 190, 190], [240, 120, 180], [150, 110, 70],
];
const KINDS = { i2: Int16Array, u2: Uint16Array, u1: Uint8Array };
const HELP = [
  ["wheel, ↑ ↓", "one slice"], ["Page Up, Page Down", "ten slices"], ["Home, End", "first, last"],
  ["drag", "window: across its width, up and down its centre"], ["Ctrl + wheel, + −", "zoom"], ["Shift + drag", "move"],
  ["double click, r", "reset"], ["1 … 9", "presets"], ["z y x", "plane"], ["t", "three planes"], ["space", "play"],
  ["[ ]", "step (echo, time, …)"], ["o", "overlay"], ["m", "header"], ["i", "invert"],
];

/** Planes by name, the oldest dropped when they take too much memory; asks for what is missing, nearest first. */
function planeStore(send, arrived) {
  const kept = new Map();
  const asked = new Set();
  let octets = 0;
  let wanted = [];
  let about = {};
  const name = (step, axis, index) => `${about.chosen}/${step}/${axis}/${index}`;
  const pump = () => {
    const planes = [];
    for (const [step, axis, index] of wanted) {
      if (asked.size >= IN_FLIGHT) break;
      const key = name(step, axis, index);
      if (kept.has(key) || asked.has(key)) continue;
      asked.add(key);
      planes.push([step, axis, index]);
    }
    if (planes.length) send("planes", { chosen: about.chosen, planes });
  };
  return {
    reset(state) {
      if (state.chosen !== about.chosen || state.kind !== about.kind) { kept.clear(); asked.clear(); octets = 0; }
      about = { chosen: state.chosen, kind: state.kind };
    },
    get: (step, axis, index) => {
      const key = name(step, axis, index);
      const found = kept.get(key);
      if (found) { kept.delete(key); kept.set(key, found); }
      return found;
    },
    want(list) { wanted = list; pump(); },
    take(message, buffers) {
      if (message.chosen !== about.chosen) return;
      const key = name(message.step, message.axis, message.index);
      const [pixels, labels] = buffers;
      const Kind = KINDS[about.kind];
      const codes = new Kind(pixels.buffer.slice(pixels.byteOffset, pixels.byteOffset + pixels.byteLength));
      asked.delete(key);
      kept.set(key, { codes, labels: labels ? new Uint8Array(labels.buffer.slice(labels.byteOffset, labels.byteOffset + labels.byteLength)) : null });
      octets += codes.byteLength;
      for (const [oldest, plane] of kept) {
        if (octets <= KEPT_OCTETS || oldest === key) break;
        kept.delete(oldest);
        octets -= plane.codes.byteLength;
      }
      arrived();
      pump();
    },
  };
}

/** From codes to grey: one table, made anew when the window changes. */
function greyTable() {
  let table = new Uint32Array(65536);
  let made = "";
  return (kind, slope, intercept, window, missing, inverted) => {
    const signature = [kind, slope, intercept, ...window, missing, inverted].join();
    if (signature === made) return table;
    made = signature;
    const low = kind === "i2" ? -32768 : 0;
    const size = kind === "u1" ? 256 : 65536;
    const [centre, width] = window;
    for (let at = 0; at < size; at += 1) {
      const code = at + low;
      let grey = 255 * (((code * slope + intercept) - centre) / width + 0.5);
      grey = grey < 0 ? 0 : grey > 255 ? 255 : Math.round(grey);
      if (inverted) grey = 255 - grey;
      if (code === missing) grey = 0;
      table[at] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
    }
    return table;
  };
}

function pane(axisNumber, act) {
  const canvas = el("canvas", { "aria-hidden": "true" });
  const corner = el("div", { cls: "dl-corner" });
  const node = el("div", { cls: "dl-pane", tabIndex: 0, role: "slider", "aria-orientation": "vertical" }, canvas, corner);
  const inner = document.createElement("canvas");
  const look = { zoom: 1, x: 0, y: 0 };
  let image;
  let place = null;
  let armed = false;
  let last = {};

  const paint = (plane, info, state) => {
    const { rows, columns } = info;
    if (inner.width !== columns || inner.height !== rows || !image) {
      inner.width = columns; inner.height = rows;
      image = inner.getContext("2d").createImageData(columns, rows);
    }
    const out = new Uint32Array(image.data.buffer);
    const { codes, labels } = plane;
    if (state.colour) {
      const samples = codes.length / out.length;
      for (let at = 0, from = 0; at < out.length; at += 1, from += samples)
        out[at] = 0xff000000 | (codes[from + 2] << 16) | (codes[from + 1] << 8) | codes[from];
    } else {
      const table = state.table();
      const shift = state.kind === "i2" ? 32768 : 0;
      for (let at = 0; at < out.length; at += 1) out[at] = table[codes[at] + shift];
    }
    if (labels && state.overlay) {
      const octets = image.data;
      const alpha = state.opacity;
      for (let at = 0; at < labels.length; at += 1) {
        const label = labels[at];
        if (!label) continue;
        const colour = COLOURS[(label - 1) % COLOURS.length];
        for (let sample = 0; sample < 3; sample += 1)
          octets[4 * at + sample] = octets[4 * at + sample] * (1 - alpha) + colour[sample] * alpha;
      }
    }
    inner.getContext("2d").putImageData(image, 0, 0);
  };

  const draw = (plane, info, state, lines, words) => {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(node.clientWidth * ratio);
    const height = Math.round(node.clientHeight * ratio);
    if (!width || !height) return; // while a theme loads: what was drawn to fit nothing would be stretched over the panel
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    if (!plane) return;
    paint(plane, info, state);
    const [down, across] = info.pixel_mm;
    const fit = Math.min(width / (info.columns * across), height / (info.rows * down)) * look.zoom;
    const sx = fit * across;
    const sy = fit * down;
    const left = (width - info.columns * sx) / 2 + look.x * ratio;
    const top = (height - info.rows * sy) / 2 + look.y * ratio;
    place = { left, top, sx, sy, info, ratio };
    const [flipRows, flipColumns] = info.flip;
    context.imageSmoothingEnabled = sx < 6;
    context.setTransform(flipColumns ? -sx : sx, 0, 0, flipRows ? -sy : sy, flipColumns ? left + info.columns * sx : left, flipRows ? top + info.rows * sy : top);
    context.drawImage(inner, 0, 0);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.strokeStyle = "rgba(255, 200, 60, .55)";
    context.lineWidth = ratio;
    for (const [horizontal, index] of lines) {
      const count = horizontal ? info.rows : info.columns;
      const turned = horizontal ? flipRows : flipColumns;
      const at = (turned ? count - 1 - index : index) + 0.5;
      context.beginPath();
      if (horizontal) { context.moveTo(0, top + at * sy); context.lineTo(width, top + at * sy); }
      else { context.moveTo(left + at * sx, 0); context.lineTo(left + at * sx, height); }
      context.stroke();
    }
    context.font = `${12 * ratio}px system-ui, sans-serif`;
    context.fillStyle = "#e8e8e8";
    context.shadowColor = "#000";
    context.shadowBlur = 3 * ratio;
    context.textBaseline = "middle";
    const [west, east, north, south] = info.edges;
    context.textAlign = "left"; context.fillText(west, 6 * ratio, height / 2);
    context.textAlign = "right"; context.fillText(east, width - 6 * ratio, height / 2);
    context.textAlign = "center"; context.fillText(north, width / 2, 10 * ratio);
    context.fillText(south, width / 2, height - 10 * ratio);
    context.shadowBlur = 0;
    setText(corner, words);
  };

  /** Which pixel of the plane lies under a point of the page: [row, column] or null. */
  const under = (event) => {
    if (!place) return null;
    const box = canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) * place.ratio - place.left) / place.sx;
    const y = ((event.clientY - box.top) * place.ratio - place.top) / place.sy;
    const [flipRows, flipColumns] = place.info.flip;
    const column = Math.floor(flipColumns ? place.info.columns - x : x);
    const row = Math.floor(flipRows ? place.info.rows - y : y);
    const within = row >= 0 && column >= 0 && row < place.info.rows && column < place.info.columns;
    return within ? [row, column] : null;
  };

  const axis = () => act.axisOf(axisNumber);
  let drag = null;
  node.addEventListener("wheel", (event) => {
    if (!armed) return; // the page was scrolled, and this came to lie under the mouse
    event.preventDefault();
    if (event.ctrlKey) { look.zoom = clamp(look.zoom * 1.0015 ** -event.deltaY, 0.5, 20); act.redraw(); return; }
    act.wheel(axis(), event.deltaMode ? event.deltaY * 40 : event.deltaY);
  }, { passive: false });
  node.addEventListener("pointerleave", () => { armed = false; act.hover(axis(), null); });
  node.addEventListener("pointerdown", (event) => {
    if (event.button > 1) return;
    node.focus({ preventScroll: true });
    node.setPointerCapture(event.pointerId);
    drag = { x: event.clientX, y: event.clientY, moved: false, shift: event.shiftKey || event.button === 1, window: act.window(), look: { ...look } };
  });
  node.addEventListener("pointermove", (event) => {
    if (event.clientX !== last.x || event.clientY !== last.y) armed = true;
    last = { x: event.clientX, y: event.clientY };
    if (drag) {
      const dx = event.clientX - drag.x;
      const dy = event.clientY - drag.y;
      drag.moved = drag.moved || Math.abs(dx) + Math.abs(dy) > 3;
      if (!drag.moved) return;
      if (drag.shift) { look.x = drag.look.x + dx; look.y = drag.look.y + dy; act.redraw(); return; }
      const [centre, width] = drag.window;
      act.setWindow([centre + (dy / 200) * width, width * 1.01 ** dx]);
      return;
    }
    act.hover(axis(), under(event));
  });
  node.addEventListener("pointerup", (event) => {
    if (drag && !drag.moved) act.point(axis(), under(event));
    drag = null;
  });
  node.addEventListener("pointercancel", () => { drag = null; });
  node.addEventListener("dblclick", () => act.reset());
  node.addEventListener("keydown", (event) => act.key(axis(), event));
  return { node, draw, under, look, zoom: (by) => { look.zoom = clamp(look.zoom * by, 0.5, 20); }, resetLook: () => Object.assign(look, { zoom: 1, x: 0, y: 0 }) };
}

function build({ root, send, state: current }) {
  const table = greyTable();
  let state = current();
  let at = { ...state.at };
  let windowNow = [0, 1];
  let three = false;
  let overlay = true;
  let inverted = false;
  let playing = false;
  let headerOpen = false;
  let way = 1;
  let pending = false;
  let turned = 0;
  let hovered = null;
  let chosen = null;
  let wheel = 0;

  // --- what is on the page ---
  const series = el("select", { "aria-label": "Series", onchange: () => send("choose", { number: series.selectedIndex }) });
  const planes = AXES.map((axis) => button(axis, `plane ${axis}`, () => setAxis(axis)));
  const all = button("three planes", "Three planes (t)", () => setThree(!three));
  const preset = el("select", { "aria-label": "Window preset", onchange: () => usePreset(preset.selectedIndex - 1) });
  const overlayButton = button("overlay", "Overlay (o)", () => setOverlay(!overlay));
  const opacity = el("input", { type: "range", min: 0, max: 100, value: 45, "aria-label": "Opacity of the overlay", oninput: () => redraw() });
  const step = el("select", { "aria-label": "Step", onchange: () => move("step", step.selectedIndex) });
  const play = button("▶ play", "Play (space)", () => setPlaying(!playing));
  const rate = el("select", { "aria-label": "Slices per second" }, [5, 10, 15, 25, 30].map((hz) => el("option", { value: hz, selected: hz === 15 }, `${hz}/s`)));
  const info = button("header", "Header of this slice (m)", () => setHeader(!headerOpen));
  const reset = button("reset", "Reset window, zoom and place (r)", () => resetAll());
  const help = button("?", "Keys", () => { keys.hidden = !keys.hidden; help.setAttribute("aria-expanded", String(!keys.hidden)); });
  const keys = el("table", { cls: "dl-keys", hidden: true }, HELP.map(([name, what]) => el("tr", {}, el("td", {}, el("kbd", {}, name)), el("td", {}, what))));
  const header = el("div", { cls: "dl-header", hidden: true, tabIndex: 0, role: "region", "aria-label": "Header" });
  const note = el("div", { cls: "dl-note", role: "status" });
  const where = el("span", { cls: "dl-says" });
  const value = el("span", { cls: "dl-says dl-push" });
  const legend = el("div", { cls: "dl-legend" });
  const act = {
    axisOf: (number) => (three ? AXES[number] : number === 0 ? at.axis : AXES[number]),
    wheel: (axis, delta) => {
      wheel += delta;
      const steps = Math.trunc(wheel / 60);
      if (steps) { wheel -= steps * 60; move(axis, at[axis] + steps); }
    },
    window: () => windowNow,
    setWindow: (next) => { windowNow = [next[0], Math.max(next[1], Math.abs(state.slope || 1) * 1e-3)]; preset.selectedIndex = 0; changed(); },
    hover: (axis, pixel) => { hovered = pixel && { axis, pixel }; showValue(); },
    point: (axis, pixel) => {
      if (!pixel || !three) return;
      const others = AXES.filter((one) => one !== axis);
      others.forEach((other, number) => { at[other] = pixel[number]; });
      changed();
    },
    redraw: () => redraw(),
    reset: () => resetAll(),
    key: (axis, event) => onKey(axis, event),
  };
  const panes = [0, 1, 2].map((number) => pane(number, act));
  const grid = el("div", { cls: "dl-panes" }, panes.map((one) => one.node));
  root.append(
    el("div", { cls: "dl-bar" }, series, el("span", { cls: "dl-group" }, planes, all), preset, step, overlayButton, opacity, play, rate, el("span", { cls: "dl-push" }), info, reset, help),
    keys,
    el("div", { cls: "dl-body" }, grid, header),
    el("div", { cls: "dl-bar dl-status" }, where, legend, value),
    note,
  );

  const size = new ResizeObserver(() => redraw()); // a picture that the page stretches lies about its shape
  panes.forEach((one) => size.observe(one.node));
  const store = planeStore(send, () => redraw());
  const viewOf = (axis) => state.views.find((one) => one.axis === axis);

  // --- what happens ---
  function move(axis, index) {
    const count = axis === "step" ? state.steps : viewOf(axis).count;
    const next = clamp(index, 0, count - 1);
    if (next !== at[axis]) { way = next > at[axis] ? 1 : -1; at[axis] = next; changed(); }
  }
  function setAxis(axis) {
    if (!viewOf(axis)) return;
    at.axis = axis;
    if (three) setThree(false);
    else changed();
  }
  function setThree(on) {
    three = on && state.views.length === 3;
    changed();
  }
  function setOverlay(on) { overlay = on; overlayButton.setAttribute("aria-pressed", String(on)); redraw(); }
  function setHeader(on) { headerOpen = on; header.hidden = !on; info.setAttribute("aria-pressed", String(on)); changed(); }
  function usePreset(number) {
    const one = (state.presets || [])[number];
    if (!one) return;
    windowNow = [one[1], one[2]];
    preset.selectedIndex = number + 1;
    changed();
  }
  function resetAll() {
    panes.forEach((one) => one.resetLook());
    inverted = false;
    if ((state.presets || []).length) usePreset(0);
    changed();
  }
  function setPlaying(on) {
    playing = on && state.ready;
    setText(play, playing ? "❚❚ pause" : "▶ play");
    play.setAttribute("aria-pressed", String(playing));
    turned = performance.now();
    if (playing) requestAnimationFrame(cine);
    else redraw();
  }
  function cine(now) {
    if (!playing) return;
    const axis = at.axis;
    const { count } = viewOf(axis);
    if (now - turned >= 1000 / Number(rate.value) - 4 && store.get(at.step, axis, at[axis])) { // the picture before was there
      turned = now;
      way = 1;
      at[axis] = (at[axis] + 1) % count;
      changed();
    }
    requestAnimationFrame(cine);
  }
  function onKey(axis, event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { count } = viewOf(axis) || { count: 1 };
    const moves = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -count, End: count };
    const main = three ? axis : at.axis;
    const others = {
      " ": () => setPlaying(!playing), t: () => setThree(!three), o: () => setOverlay(!overlay), m: () => setHeader(!headerOpen),
      r: () => resetAll(), i: () => { inverted = !inverted; redraw(); }, "?": () => help.click(), "[": () => move("step", at.step - 1), "]": () => move("step", at.step + 1),
      "+": () => { panes.forEach((one) => one.zoom(1.2)); redraw(); }, "-": () => { panes.forEach((one) => one.zoom(1 / 1.2)); redraw(); },
    };
    if (event.key in moves) move(main, at[main] + moves[event.key]);
    else if (AXES.includes(event.key)) setAxis(event.key);
    else if (event.key in others) others[event.key]();
    else if (/^[1-9]$/.test(event.key)) usePreset(Number(event.key) - 1);
    else return;
    event.preventDefault();
    event.stopPropagation(); // the notebook has keys of its own
  }

  // --- what is drawn ---
  let tellTimer = null;
  let headerTimer = null;
  function tell() {
    tellTimer = null;
    send("at", { at, window: windowNow });
  }
  function changed() {
    if (tellTimer === null) tellTimer = setTimeout(tell, 80);
    if (headerOpen) {
      clearTimeout(headerTimer);
      headerTimer = setTimeout(() => send("header", { step: at.step, z: at.z }), 150);
    }
    redraw();
  }
  function redraw() {
    if (!pending) { pending = true; requestAnimationFrame(drawAll); }
  }
  function wanted() {
    const shown = three ? AXES : [at.axis];
    const list = shown.map((axis) => [at.step, axis, at[axis]]);
    const { count } = viewOf(at.axis);
    for (let away = 1; away <= AHEAD; away += 1) {
      for (const [side, reach] of [[way, AHEAD], [-way, BEHIND]]) {
        const index = at[at.axis] + side * away;
        if (away > reach) continue;
        if (index >= 0 && index < count) list.push([at.step, at.axis, index]);
        else if (playing && side > 0) list.push([at.step, at.axis, index % count]);
      }
    }
    return list;
  }
  function drawAll() {
    pending = false;
    if (!state.ready) return;
    store.want(wanted());
    const drawing = {
      kind: state.kind, colour: state.colour, overlay, opacity: Number(opacity.value) / 100,
      table: () => table(state.kind, state.slope, state.intercept, windowNow, state.missing, inverted !== state.inverted),
    };
    grid.classList.toggle("dl-three", three);
    panes.forEach((one, number) => {
      one.node.hidden = !three && number > 0;
      if (one.node.hidden) return;
      const axis = act.axisOf(number);
      const info = viewOf(axis);
      let index = at[axis];
      let plane = store.get(at.step, axis, index);
      one.node.classList.toggle("dl-waiting", !plane);
      if (!plane && one.drawn && one.drawn.axis === axis) { // scrolled ahead of what has come: the nearest on the way, under its own number
        const back = Math.sign(one.drawn.index - index);
        for (let near = index + back; back && near !== one.drawn.index && !plane; near += back) {
          plane = store.get(at.step, axis, near);
          if (plane) index = near;
        }
      }
      if (!plane && one.drawn) return; // what stands there keeps its own number
      const others = AXES.filter((other) => other !== axis);
      const lines = three ? [[true, at[others[0]]], [false, at[others[1]]]] : [];
      const words = `${info.name} ${index + 1} / ${info.count}`;
      one.draw(plane, info, drawing, lines, words);
      one.drawn = plane ? { axis, index } : null;
      one.node.setAttribute("aria-label", `${info.name} slice`);
      one.node.setAttribute("aria-valuemin", 1);
      one.node.setAttribute("aria-valuemax", info.count);
      if (!playing) { // nobody wants each slice of a cine read out
        one.node.setAttribute("aria-valuenow", index + 1);
        one.node.setAttribute("aria-valuetext", words);
      }
      if (plane) one.node.dataset.drawn = `${at.step}/${axis}/${index}`;
    });
    planes.forEach((one, number) => one.setAttribute("aria-pressed", String(!three && AXES[number] === at.axis)));
    all.setAttribute("aria-pressed", String(three));
    const places = AXES.filter((axis) => viewOf(axis)).map((axis) => `${axis} ${at[axis]}`).join("  ");
    const [centre, width] = windowNow;
    const words = state.colour ? "colour" : `centre ${Number(centre.toPrecision(4))}  width ${Number(width.toPrecision(4))}${state.unit ? ` ${state.unit}` : ""}`;
    setText(where, `${places}   ${words}`);
    if (state.steps > 1) step.selectedIndex = at.step;
    showValue();
  }
  function showValue() {
    if (!hovered || !state.ready) { setText(value, ""); return; }
    const { axis, pixel: [row, column] } = hovered;
    const plane = store.get(at.step, axis, at[axis]);
    if (!plane) return;
    const info = viewOf(axis);
    const place = row * info.columns + column;
    const [down, across] = AXES.filter((other) => other !== axis);
    let words;
    if (state.colour) {
      const samples = plane.codes.length / (info.rows * info.columns);
      words = Array.from(plane.codes.subarray(place * samples, (place + 1) * samples)).join(", ");
    } else {
      const code = plane.codes[place];
      const number = code * state.slope + state.intercept;
      words = code === state.missing ? "no value" : `${Number(number.toPrecision(state.exact ? 7 : 5))}${state.unit ? ` ${state.unit}` : ""}`;
    }
    const label = plane.labels && plane.labels[place] ? `   ${state.names[plane.labels[place] - 1] || plane.labels[place]}` : "";
    setText(value, `${down} ${row}  ${across} ${column}   ${words}${label}`);
  }

  return {
    state(next) {
      const fresh = next.chosen !== chosen || next.ready !== state.ready;
      state = next;
      store.reset(state);
      setText(note, state.note || (state.notes || []).join("; "));
      if (!fresh) return;
      if (state.chosen !== chosen) { panes.forEach((one) => { one.resetLook(); one.drawn = null; }); setPlaying(false); three = false; }
      chosen = state.chosen;
      at = { ...state.at };
      series.replaceChildren(...state.series.map((title, number) => el("option", { selected: number === chosen }, title)));
      series.hidden = state.series.length < 2;
      planes.forEach((one, number) => {
        const info = viewOf(AXES[number]);
        one.hidden = !info || state.views.length < 2;
        if (info) { setText(one, info.name); one.title = `${info.name} (${info.axis})`; one.setAttribute("aria-label", one.title); }
      });
      all.hidden = state.views.length < 3;
      step.hidden = state.steps < 2;
      step.replaceChildren(...Array.from({ length: state.steps }, (_, number) => el("option", {}, `${state.step_name} ${number + 1} / ${state.steps}`)));
      overlayButton.hidden = opacity.hidden = !state.labels;
      overlayButton.setAttribute("aria-pressed", String(overlay));
      legend.replaceChildren(...(state.labels ? state.names : []).map((name, number) => el("span", { cls: "dl-key" },
        el("span", { cls: "dl-swatch", style: { background: `rgb(${COLOURS[number % COLOURS.length].join()})` } }), name)));
      preset.hidden = !(state.presets || []).length;
      preset.replaceChildren(el("option", {}, "window"), ...(state.presets || []).map(([name, centre, width]) =>
        el("option", { selected: state.window && centre === state.window[0] && width === state.window[1] }, `${name}  ${Number(centre.toPrecision(4))} / ${Number(width.toPrecision(4))}`)));
      play.disabled = !state.ready;
      if (state.ready) { windowNow = [...state.window]; setText(where, ""); redraw(); }
      else setText(where, "reading …");
    },
    message(message, buffers) {
      if (message.kind === "plane") store.take(message, buffers);
      else if (message.kind === "go") { at = { ...at, ...message.at }; windowNow = message.window; redraw(); }
      else if (message.kind === "reading") setText(where, `reading ${message.done}${message.total ? ` of ${message.total}` : ""} …`);
      else if (message.kind === "stop") setPlaying(false);
      else if (message.kind === "header") {
        header.replaceChildren(el("table", {}, message.rows.map(([tag, keyword, text]) => el("tr", { title: tag }, el("th", { scope: "row" }, keyword), el("td", {}, text)))));
      }
    },
    seen: (visible) => (visible ? redraw() : setPlaying(false)),
    goes: () => playing,
    ended: () => { size.disconnect(); setPlaying(false); if (!state.ready) setText(where, ""); clearTimeout(tellTimer); clearTimeout(headerTimer); },
  };
}

export default { render: (context) => view(context, "viewer", "Stack viewer", build) };
