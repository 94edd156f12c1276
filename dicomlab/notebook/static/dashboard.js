// The archive's dashboard: what arrives, from whom, how fast.

const RECENT = ["time", "from", "patient", "modality", "study", "series", "size"];
const TOTALS = ["patients", "studies", "series", "instances"];

function build({ root }) {
  const tiles = TOTALS.map((name) => el("div", { cls: "dl-tile" }, el("div", { cls: "dl-count" }, "0"), el("div", { cls: "dl-quiet" }, name)));
  const size = el("div", { cls: "dl-tile" }, el("div", { cls: "dl-count" }, "0 B"), el("div", { cls: "dl-quiet" }, "stored"));
  const rate = sparkline("arriving", "/s");
  const doors = el("table", { cls: "dl-facts" });
  const note = el("div", { cls: "dl-note" });
  const sources = el("tbody");
  const recent = el("tbody");
  const table = (title, names, body) => el("div", { cls: "dl-part" }, el("div", { cls: "dl-title" }, title), el("div", { cls: "dl-roll", tabIndex: 0, role: "region", "aria-label": title },
    el("table", { cls: "dl-rows" }, el("thead", {}, el("tr", {}, names.map((name) => el("th", { scope: "col" }, name)))), body)));
  root.append(
    el("div", { cls: "dl-tiles" }, tiles, size, rate.node),
    doors,
    note,
    el("div", { cls: "dl-parts" }, table("From whom", ["from", "instances", "size", "last"], sources), table("What came last", RECENT, recent)),
  );
  const nothing = (columns) => el("tr", {}, el("td", { cls: "dl-quiet", colSpan: columns }, "nothing since the archive was opened"));
  const row = (values) => el("tr", {}, values.map((value) => el("td", { title: value }, value)));
  return {
    state(state) {
      TOTALS.forEach((name, at) => setText(tiles[at].firstChild, state.totals[name].toLocaleString("en")));
      setText(size.firstChild, octetsInWords(state.totals.octets));
      doors.replaceChildren(...state.doors.map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, value))));
      setText(note, state.open ? state.notes.join("; ") : "the archive is closed");
      sources.replaceChildren(...state.sources.map(([name, count, octets, last]) => row([name, count.toLocaleString("en"), octetsInWords(octets), last])), ...(state.sources.length ? [] : [nothing(4)]));
      recent.replaceChildren(...state.recent.map((values) => row([...values.slice(0, -1), octetsInWords(Number(values[values.length - 1]))])), ...(state.recent.length ? [] : [nothing(RECENT.length)]));
    },
    message(message) {
      if (message.kind === "rate") rate.add(message.rate_hz);
    },
  };
}

export default { render: (context) => view(context, "dashboard", "Archive dashboard", build) };
