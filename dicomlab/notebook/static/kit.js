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

/** Build a view: `build` gets its root and gives {state, message, ended}; the kernel learns whether it can be seen. */
function view({ model, el: place }, name, build) {
  const root = el("div", { cls: `dl dl-widget dl-${name}` });
  place.append(root);
  const id = Math.random().toString(36).slice(2);
  const send = (kind, content = {}) => model.send({ kind, ...content });
  const parts = build({ root, model, send, state: () => model.get("state") });
  let inside = false;
  let told;
  const look = () => {
    const visible = inside && document.visibilityState === "visible";
    if (visible === told) return;
    told = visible;
    send("view", { view: id, visible });
    if (parts.seen) parts.seen(visible);
  };
  const observer = new IntersectionObserver((entries) => {
    inside = entries[entries.length - 1].isIntersecting;
    look();
  });
  observer.observe(root);
  document.addEventListener("visibilitychange", look);
  const onState = () => parts.state && parts.state(model.get("state"));
  const onMessage = (message, buffers) => parts.message && parts.message(message, buffers || []);
  model.on("change:state", onState);
  model.on("msg:custom", onMessage);
  onState();
  return () => {
    observer.disconnect();
    document.removeEventListener("visibilitychange", look);
    model.off("change:state", onState);
    model.off("msg:custom", onMessage);
    if (parts.ended) parts.ended();
    send("view", { view: id, gone: true });
    root.remove();
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
