// What every live face needs. All text goes into the page as text: nothing here, or anywhere in this folder, makes markup.

/** Make an element: properties by name, `on...` as listeners, `aria...` and `data...` as attributes, children as nodes or text. */
function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "cls") node.className = value;
    else if (name === "style") Object.assign(node.style, value);
    else if (name === "role" || name.includes("-")) node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.flat().filter((child) => child !== undefined && child !== null));
  return node;
}

function button(text, title, onclick, properties = {}) {
  return el("button", { type: "button", cls: "dl-button", title, "aria-label": title, onclick, ...properties }, text);
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

function octetsInWords(octets) {
  if (octets < 1000) return `${octets} B`;
  const step = Math.min(4, Math.floor(Math.log10(octets) / 3));
  return `${(octets / 1000 ** step).toFixed(1)} ${["B", "kB", "MB", "GB", "TB"][step]}`;
}

function timeInWords(seconds) {
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  return `${Math.floor(seconds / 60)} min ${String(Math.round(seconds % 60)).padStart(2, "0")} s`;
}

/** Text for who can't see it, told at most once a second: what comes between is passed over. */
function status(properties = {}) {
  const node = el("span", { role: "status", ...properties });
  let next = "";
  let timer = null;
  const tell = () => { timer = null; setText(node, next); };
  return {
    node,
    say(text) {
      next = text;
      if (timer !== null) return;
      if (!node.textContent) tell();
      else if (node.textContent !== text) timer = setTimeout(tell, 1000);
    },
  };
}

// --- a view and its kernel ---
const BEAT_MS = 10_000; // so often a view that is seen says so
const PATIENCE_MS = 5_000; // so long it waits for the answer
const ENDED = {
  restarting: "The kernel was restarted: run this cell again.",
  autorestarting: "The kernel died and was started again: run this cell again.",
  dead: "The kernel has ended: start one, then run this cell again.",
  gone: "The kernel of this cell has ended: run it again.",
  closed: "Closed: this is what it showed last.",
};
const AWAY = {
  connecting: "No connection to the kernel: trying again …",
  disconnected: "No connection to the kernel: reconnect to it, then this goes on.",
};
const SILENT = "The kernel does not answer: it is busy with a cell, or it has ended.";
const STOPPED = "The kernel was interrupted: what went on here was stopped.";
const HANDS = ["click", "dblclick", "pointerdown", "pointermove", "pointerup", "wheel", "keydown", "input", "change", "scroll"];

/** Tell what happens to the kernel, where the front end says so: `ended` by a name of ENDED, `away` by one of AWAY or null. */
function watchKernel(model, ended, away) {
  const { kernel } = model.widget_manager || {};
  const listen = [
    ["statusChanged", (_, now) => { if (now in ENDED) ended(now); }],
    ["connectionStatusChanged", (_, now) => away(now in AWAY ? now : null)],
    ["disposed", () => ended("gone")],
  ].filter(([name]) => kernel && kernel[name] && kernel[name].connect);
  const lost = () => ended("gone");
  const closed = () => ended("closed");
  listen.forEach(([name, slot]) => kernel[name].connect(slot));
  model.on("comm_live_update", lost);
  model.on("comm:close", closed);
  return () => {
    listen.forEach(([name, slot]) => kernel[name].disconnect(slot));
    model.off("comm_live_update", lost);
    model.off("comm:close", closed);
  };
}

/**
 * Build a view: `build` gets its root and gives {state, message, seen, goes, ended, alone}; the kernel learns whether it can be
 * seen, and who looks learns when the kernel is no more: it says so, and nothing can be pressed then but what needs no kernel
 * (`alone`). `goes` says whether anything goes on that an interrupt stops.
 */
function view({ model, el: place }, name, title, build) {
  const root = el("fieldset", { cls: `dl dl-widget dl-${name}`, "aria-label": title });
  const line = el("div", { cls: "dl-note dl-kernel", role: "status", tabIndex: -1 });
  root.append(line);
  place.append(root);
  const id = Math.random().toString(36).slice(2);
  let over = ""; // how the kernel ended
  let held = false; // whether hands are kept off
  let apart = false; // whether there is no way to the kernel now
  let inside = false;
  let told;
  let beat = null;
  let waits = null;
  let asked = 0;
  const send = (kind, content = {}) => {
    if (over) return;
    try { model.send({ kind, ...content }); } catch { end("gone"); }
  };
  const say = (text) => {
    setText(line, text);
    if (text && held && root.contains(document.activeElement)) line.focus(); // what had it can't be pressed any more
  };
  const hold = (on, text) => {
    held = on && !parts.alone;
    root.disabled = held;
    if (held) root.setAttribute("aria-disabled", "true");
    else root.removeAttribute("aria-disabled");
    say(text);
  };
  const ask = () => {
    asked = performance.now();
    send("view", { view: id, visible: told });
    if (waits === null && told && !over) waits = setTimeout(() => say(SILENT), PATIENCE_MS);
  };
  const heard = () => {
    clearTimeout(waits);
    waits = null;
    if (line.textContent === SILENT) say("");
  };
  const look = () => {
    const visible = inside && document.visibilityState === "visible";
    if (visible === told || apart) return;
    told = visible;
    clearInterval(beat);
    if (visible) beat = setInterval(ask, BEAT_MS);
    else heard();
    ask();
    if (parts.seen) parts.seen(visible);
  };
  const observer = new IntersectionObserver((entries) => {
    inside = entries[entries.length - 1].isIntersecting;
    look();
  });
  const touched = (event) => {
    if (held) event.stopImmediatePropagation(); // and what the browser does with it by itself goes on: Tab, scrolling
    else if (!over && (event.type === "click" || event.type === "keydown")) {
      if (line.textContent === STOPPED) say("");
      if (performance.now() - asked > 1000) ask();
    }
  };
  const onState = () => parts.state && parts.state(model.get("state"));
  const onMessage = (message, buffers) => {
    if (message.kind === "here") heard(); // the answer, and nothing else: what was under way says nothing of now
    else if (message.kind === "interrupted") { if (parts.goes && parts.goes()) say(STOPPED); }
    else if (parts.message) parts.message(message, buffers || []);
  };
  const quiet = () => {
    observer.disconnect();
    clearInterval(beat);
    clearTimeout(waits);
    document.removeEventListener("visibilitychange", look);
    model.off("change:state", onState);
    model.off("msg:custom", onMessage);
    if (parts.ended && !parts.alone) parts.ended();
  };
  function end(how) {
    if (over === "closed" || (over && how === "gone") || (over === "autorestarting" && how === "restarting")) return; // known better
    if (!over) { over = how; quiet(); }
    over = how;
    hold(true, ENDED[how]);
    if (how !== "closed") return;
    const output = place.closest(".jp-OutputArea-child"); // JupyterLab hides what it showed: the picture stays beside it
    if (output) output.append(el("div", { cls: "jp-OutputArea-output dl-closed" }, root));
  }
  const parts = build({ root, model, send, state: () => model.get("state") });
  const unwatch = watchKernel(model, end, (how) => {
    if (over || (how === null && !apart)) return;
    heard();
    apart = how !== null;
    hold(apart, apart ? AWAY[how] : "");
    clearInterval(beat);
    told = undefined;
    if (apart && parts.seen) parts.seen(false);
    look();
  });
  HANDS.forEach((type) => root.addEventListener(type, touched, { capture: true }));
  observer.observe(root);
  document.addEventListener("visibilitychange", look);
  model.on("change:state", onState);
  model.on("msg:custom", onMessage);
  onState();
  return () => {
    unwatch();
    if (!over) { quiet(); send("view", { view: id, gone: true }); over = "gone"; }
    if (over !== "closed") root.remove();
  };
}

/** A line of numbers over time, drawn in the theme's colours: from 0 up, or between its own bounds where `fits`. */
function sparkline(title, unit, { length = 120, fits = false } = {}) {
  const canvas = el("canvas", { width: 240, height: 40, role: "img", "aria-label": title });
  const now = el("span", { cls: "dl-spark-now" });
  const node = el("div", { cls: "dl-spark" }, el("div", { cls: "dl-spark-title" }, el("span", { title }, title), now), canvas);
  const values = [];
  const draw = () => {
    const context = canvas.getContext("2d");
    const { width, height } = canvas;
    const style = getComputedStyle(node);
    const known = values.filter((value) => value !== null);
    const low = fits && known.length ? Math.min(...known) : 0;
    const span = (fits && known.length ? Math.max(...known) - low : Math.max(...known, 1e-9) * 1.1) || 1;
    context.clearRect(0, 0, width, height);
    context.strokeStyle = style.getPropertyValue("--dl-accent").trim() || style.color;
    context.lineWidth = 1.5;
    context.beginPath();
    let pen = false;
    values.forEach((value, at) => {
      const x = ((length - values.length + at) / (length - 1)) * width;
      if (value === null) { pen = false; return; }
      const y = height - 2 - ((value - low) / span) * (height - 4);
      if (pen) context.lineTo(x, y);
      else context.moveTo(x, y);
      pen = true;
    });
    context.stroke();
  };
  const add = (value) => {
    values.push(Number.isFinite(value) ? value : null);
    if (values.length > length) values.shift();
    const digits = fits ? 4 : 3;
    const whole = Number.isInteger(value) || (!fits && value >= 100);
    const text = Number.isFinite(value) ? `${whole ? Math.round(value) : Number(value.toPrecision(digits))} ${unit}`.trim() : "—";
    setText(now, text);
    canvas.setAttribute("aria-label", `${title}: ${text}`);
    canvas.title = `${title}: ${text}`;
    if (!node.hidden) draw();
  };
  return { node, add, draw };
}

/** A bar with what it says beside it; `show` takes what the kernel tells of an operation, or null. */
function progressBar(stop) {
  const fill = el("div");
  const bar = el("div", { cls: "dl-progress", role: "progressbar", "aria-label": "Progress", "aria-valuemin": 0, "aria-valuemax": 100 }, fill);
  const says = el("span", { cls: "dl-says" });
  const end = button("stop", "End it; what arrived stays", stop);
  const node = el("div", { cls: "dl-bar dl-transfer-line" }, bar, says, end);
  const show = (line, ended = false, stopping = false) => {
    node.hidden = !line;
    if (!line) return;
    const part = line.total ? Math.min(1, line.done / line.total) : ended ? 1 : null;
    bar.classList.toggle("dl-unknown", part === null);
    fill.style.width = part === null ? "" : `${100 * part}%`;
    if (part === null) bar.removeAttribute("aria-valuenow");
    else bar.setAttribute("aria-valuenow", Math.round(100 * part));
    const words = [`${line.done.toLocaleString("en")}${line.total ? ` of ${line.total.toLocaleString("en")}` : ""}`];
    if (line.failed) words.push(`${line.failed} failed`);
    if (line.octets) words.push(octetsInWords(line.octets));
    if (!ended && line.octets_per_s) words.push(`${octetsInWords(line.octets_per_s)}/s`);
    if (!ended && line.left_s !== null) words.push(`${timeInWords(line.left_s)} left`);
    if (ended) words.push(`in ${timeInWords(line.elapsed_s)}`);
    setText(says, words.join("   "));
    bar.setAttribute("aria-valuetext", words.join(", "));
    end.hidden = ended;
    end.disabled = stopping;
    setText(end, stopping ? "stopping …" : "stop");
  };
  return { node, show };
}
