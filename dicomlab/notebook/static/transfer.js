// An operation that goes on: its bar, and a button that ends it.

const NOTHING = { done: 0, failed: 0, total: null, octets: 0, octets_per_s: 0, left_s: null, elapsed_s: 0 };

function build({ root, send }) {
  const title = el("div", { cls: "dl-title" });
  const bar = progressBar(() => send("stop"));
  const note = el("div", { cls: "dl-note", role: "status" });
  root.append(title, bar.node, note);
  return {
    state(state) {
      setText(title, state.title);
      bar.show(state.progress || NOTHING, state.done, state.stopping);
      setText(note, state.note === "ended" ? "" : state.note);
    },
  };
}

export default { render: (context) => view(context, "transfer", "Transfer", build) };
