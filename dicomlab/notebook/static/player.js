// The live player. A picture is decoded beside the page, drawn at once (but only one for each frame of the screen), then acknowledged.

const CODEC = "avc1.42E028";
const HELD_MS = 250; // how long acknowledgements wait for that of a picture that may not wait, where the kernel lets them
const MOST_HELD = 16;

function build({ root, send, state: current }) {
  let state = current();
  let alive = true;
  let looked = false;
  let queue = []; // as long as what may be under way, at most
  let drawn = false;
  let newest = 0;
  let decoder = null;
  let pendingNumbers = [];
  let canvas = null;
  let context = null;
  const screen = el("div", { cls: "dl-screen", tabIndex: 0, role: "group", "aria-label": "Live picture; space plays and pauses, s keeps a snapshot, r records" }, el("div", { cls: "dl-waits" }, "waiting for the first frame …"));
  const play = button("❚❚ pause", "Pause (space)", () => send("play", { on: !state.playing }));
  const snapshot = button("snapshot", "Keep this frame (s)", () => send("snapshot"));
  const record = button("● record", "Record (r)", () => send("record", { on: !state.recording }));
  const mode = el("select", { "aria-label": "What pictures travel as", onchange: () => send("mode", { mode: mode.value }) },
    ["auto", "jpeg", "h264", "lossless"].map((name) => el("option", { value: name }, name)));
  const how = status();
  const rates = el("span");
  const says = el("div", { cls: "dl-says dl-line" }, how.node, rates); // rates are read by who goes there: nobody wants to hear all of them
  const kept = el("span", { cls: "dl-quiet", role: "status" });
  const facts = el("table", { cls: "dl-facts" });
  const note = el("div", { cls: "dl-note", role: "status" });
  const plots = [
    ["shown", "/s"], ["latency", "ms"], ["jitter", "ms"], ["packets lost", "/s"],
  ].map(([title, unit]) => sparkline(title, unit));
  const sparks = el("div", { cls: "dl-sparks" }, plots.map((plot) => plot.node));
  const choices = el("div", { cls: "dl-choices" });
  const picks = el("details", { cls: "dl-picks", hidden: true }, el("summary", {}, "metadata of the frames"), choices);
  root.append(
    el("div", { cls: "dl-bar" }, play, snapshot, record, kept, el("span", { cls: "dl-push" }), mode),
    el("div", { cls: "dl-live" }, screen, el("div", { cls: "dl-side" }, facts)),
    says,
    sparks,
    picks,
    note,
  );
  screen.addEventListener("keydown", (event) => {
    const keys = { " ": () => play.click(), s: () => snapshot.click(), r: () => { if (!record.hidden) record.click(); } };
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    keys[event.key]();
    event.preventDefault();
    event.stopPropagation();
  });

  // --- pictures ---
  let untold = []; // drawn, or never to be, and not acknowledged yet
  let waits = 0;
  const later = new Set();
  const tell = () => {
    clearTimeout(waits);
    const now = performance.now();
    if (untold.length) send("ack", { pictures: untold.map(({ at, ...one }) => ({ ...one, ago_ms: Math.round(now - at) })) });
    untold = [];
  };
  const acknowledge = (n, shown, broken = false) => {
    untold.push({ n, shown, broken, at: performance.now() });
    if (!later.delete(n) || !shown || untold.length >= MOST_HELD) tell();
    else if (untold.length === 1) waits = setTimeout(tell, HELD_MS);
  };
  // A bitmap is handed over as it is; frames of a video and luma are drawn. A canvas does the one or the other.
  const stage = (kind) => {
    if (context && canvas.dataset.kind === kind) return;
    const fresh = el("canvas", { role: "img", "aria-label": "Live picture", width: 0, height: 0 });
    fresh.dataset.kind = kind;
    context = fresh.getContext(kind, { alpha: false });
    if (canvas) canvas.replaceWith(fresh);
    else screen.prepend(fresh);
    canvas = fresh;
  };
  // What is little smaller than its place is shown pixel for pixel: sharp, and nothing to reckon for who draws the page.
  const fit = () => {
    if (!canvas) return;
    const ratio = window.devicePixelRatio || 1;
    const times = (screen.clientWidth * ratio) / canvas.width;
    canvas.style.maxWidth = times >= 1 && times < 1.5 ? `${canvas.width / ratio}px` : "";
  };
  const draw = () => {
    const { n, source, width, height } = queue.shift();
    stage(source instanceof ImageBitmap ? "bitmaprenderer" : "2d");
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; fit(); }
    if (source instanceof ImageBitmap) context.transferFromImageBitmap(source);
    else if (source instanceof ImageData) context.putImageData(source, 0, 0);
    else context.drawImage(source, 0, 0, width, height);
    if (source.close) source.close();
    screen.classList.add("dl-has");
    root.dataset.shown = String(Number(root.dataset.shown || 0) + 1);
    acknowledge(n, true);
    drawn = true;
    requestAnimationFrame(() => {
      drawn = false;
      if (queue.length && alive) draw();
    });
  };
  const show = (n, source, width, height) => {
    if (n < newest) { // one that travelled another way was decoded sooner
      if (source.close) source.close();
      acknowledge(n, false);
      return;
    }
    newest = n;
    queue.push({ n, source, width, height });
    if (!drawn) draw(); // a second one in the same frame of the screen would never be seen: it waits for the next
  };
  const failed = (n) => acknowledge(n, false, true);
  const octetsOf = (buffer) => new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);

  const decoded = (data) => createImageBitmap(new Blob([data], { type: "image/jpeg" })); // beside the page, colours included
  let inTurn = Promise.resolve(); // several are decoded at once, and shown in their order
  const asJpeg = (message, buffer) => {
    const decoding = decoded(octetsOf(buffer)).catch(() => null);
    inTurn = inTurn.then(async () => {
      const picture = await decoding;
      if (!picture) failed(message.n);
      else if (alive) show(message.n, picture, message.width, message.height);
      else picture.close();
    });
  };
  const asLuma = (message, buffer) => {
    const { width, height, depth, type } = message;
    const octets = octetsOf(buffer);
    const codes = type === "u1" ? octets : new Uint16Array(octets.slice().buffer);
    const image = new ImageData(width, height);
    const out = new Uint32Array(image.data.buffer);
    const shift = depth - 8;
    for (let at = 0; at < out.length; at += 1) {
      const grey = codes[at] >> shift;
      out[at] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
    }
    show(message.n, image, width, height);
  };
  const freshDecoder = () => {
    if (decoder && decoder.state !== "closed") decoder.close();
    pendingNumbers.forEach((n) => acknowledge(n, false));
    pendingNumbers = [];
    const made = new VideoDecoder({
      output: (frame) => {
        const n = pendingNumbers.shift();
        if (alive && made === decoder) show(n, frame, frame.displayWidth, frame.displayHeight);
        else frame.close();
      },
      error: () => { if (made === decoder) { pendingNumbers.forEach(failed); pendingNumbers = []; decoder = null; } },
    });
    made.configure({ codec: CODEC, optimizeForLatency: true });
    decoder = made;
  };
  const asH264 = (message, buffer) => {
    try {
      if (!("VideoDecoder" in window)) { failed(message.n); return; }
      if (message.key) freshDecoder();
      if (!decoder) { failed(message.n); return; }
      pendingNumbers.push(message.n);
      decoder.decode(new EncodedVideoChunk({ type: message.key ? "key" : "delta", timestamp: message.n * 1000, data: octetsOf(buffer).slice() }));
    } catch {
      failed(message.n);
    }
  };

  // --- where it stands ---
  let placed = "";
  let h264 = false;
  const place = () => {
    fit();
    const width = Math.round(screen.clientWidth * (window.devicePixelRatio || 1));
    const words = `${width} ${h264}`;
    if (!width || words === placed) return;
    placed = words;
    send("place", { width, h264 });
  };
  const size = new ResizeObserver(place);
  size.observe(screen);
  if ("VideoDecoder" in window && window.isSecureContext)
    VideoDecoder.isConfigSupported({ codec: CODEC }).then((answer) => { h264 = Boolean(answer.supported); if (alive) place(); }, () => {});

  // --- numbers that come with the frames: all are kept, and drawn are the first four that change, until somebody chooses ---
  const MOST = 24;
  const DRAWN = 4;
  const curves = new Map();
  let chosen = false;
  const curveOf = (name) => {
    const plot = sparkline(name, "", { fits: true });
    plot.node.hidden = true;
    const box = el("input", { type: "checkbox", onchange: () => { chosen = true; turn(curve, box.checked); } });
    const curve = { plot, box, first: null, changes: false };
    sparks.append(plot.node);
    choices.append(el("label", {}, box, name));
    picks.hidden = false;
    curves.set(name, curve);
    return curve;
  };
  const turn = (curve, on) => {
    curve.box.checked = on;
    curve.plot.node.hidden = !on;
    if (on) curve.plot.draw();
  };
  const numbers = (pairs) => {
    const now = new Map(pairs);
    for (const name of now.keys()) if (!curves.has(name) && curves.size < MOST) curveOf(name);
    let drawn = [...curves.values()].filter((curve) => curve.box.checked).length;
    for (const [name, curve] of curves) {
      const value = now.get(name);
      if (curve.first === null && value !== undefined) curve.first = value;
      if (!curve.changes && value !== undefined && value !== curve.first) {
        curve.changes = true;
        if (!chosen && drawn < DRAWN) { turn(curve, true); drawn += 1; }
      }
      curve.plot.add(value);
    }
  };

  const figure = (value, digits = 0) => (Number.isFinite(value) ? value.toFixed(digits) : "—");
  return {
    state(now) {
      state = now;
      setText(play, state.playing ? "❚❚ pause" : "▶ play");
      play.title = state.playing ? "Pause (space)" : "Play (space)";
      play.setAttribute("aria-label", play.title);
      record.hidden = !state.records;
      setText(record, state.recording ? "■ stop" : "● record");
      record.setAttribute("aria-pressed", String(state.recording));
      record.classList.toggle("dl-recording", state.recording);
      mode.value = state.mode;
      setText(kept, state.snapshots ? `${state.snapshots} kept` : "");
      setText(note, state.note || "");
    },
    message(message, buffers) {
      if (message.kind === "picture") {
        if (message.later) later.add(message.n);
        ({ jpeg: asJpeg, h264: asH264, lossless: asLuma })[message.mode](message, buffers[0]);
      } else if (message.kind === "statistics") {
        const { figures, counts: [received, sent, shown, passed, lost] } = message;
        how.say(message.state);
        setText(rates, `   ${figure(figures.received_hz, 1)}/s received   ${figure(figures.shown_hz, 1)}/s shown   `
          + `${figure(figures.p50_ms)} ms (95 %: ${figure(figures.p95_ms)})   ${message.travels} ${octetsInWords(Math.round(figures.octets))}   ${figure(figures.encode_ms, 1)} ms to encode`);
        says.title = `${received} received, ${sent} sent, ${shown} shown, ${passed} passed over; ${lost} packets lost`;
        plots[0].add(figures.shown_hz);
        plots[1].add(figures.p50_ms);
        plots[2].add(message.jitter_ms);
        plots[3].add(message.lost_hz);
        numbers(message.numbers);
        facts.replaceChildren(...message.facts.map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, value))));
        if (message.note) setText(note, message.note);
      }
    },
    seen(visible) {
      if (!visible) return;
      place();
      if (!looked && state.playing && matchMedia("(prefers-reduced-motion: reduce)").matches) send("play", { on: false });
      looked = true;
    },
    goes: () => state.playing || state.recording,
    ended() {
      alive = false;
      clearTimeout(waits);
      size.disconnect();
      if (decoder && decoder.state !== "closed") decoder.close();
      queue.forEach(({ source }) => source.close && source.close());
      queue = [];
    },
  };
}

export default { render: (context) => view(context, "player", "Live player", build) };
