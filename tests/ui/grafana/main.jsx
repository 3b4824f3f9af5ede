// Shows a flame graph of a collector as Grafana does: its data source makes a data frame of the answer, and its
// component draws that.

// Required: esbuild gives the modules for import the default exports of CommonJS as Node does, which fails here.
const { createDataFrame, createTheme, FieldType } = require("@grafana/data");
const { FlameGraph } = require("@grafana/flamegraph");
const { createRoot } = require("react-dom/client");

// Yields the nodes of a flame graph, each before its children: a data frame lists them in this order.
function* walk(levels, names) {
  const nodes = levels.map(({ values }) => {
    let end = 0;
    return Array.from({ length: values.length / 4 }, (_, at) => {
      const [offset, value, self, name] = values.slice(4 * at, 4 * at + 4).map(Number);
      const begin = end + offset;
      end = begin + value;
      return { begin, end, value, self, label: names[name] };
    });
  });
  function* below(level, parent) {
    yield { level, ...parent };
    for (const child of nodes[level + 1] ?? []) {
      if (child.begin >= parent.begin && child.end <= parent.end) yield* below(level + 1, child);
    }
  }
  yield* below(0, nodes[0][0]);
}

window.showFlameGraph = async (request) => {
  const response = await fetch("/querier.v1.QuerierService/SelectMergeStacktraces", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(request),
  });
  const { levels, names } = (await response.json()).flamegraph;
  const nodes = [...walk(levels, names)];
  const unit = request.profileTypeID.split(":")[2] === "nanoseconds" ? "ns" : "short";
  const column = (name, type, config = {}) => ({ name, type, config, values: nodes.map((node) => node[name]) });
  const frame = createDataFrame({
    meta: { preferredVisualisationType: "flamegraph" },
    fields: [
      column("level", FieldType.number),
      column("value", FieldType.number, { unit }),
      column("self", FieldType.number, { unit }),
      column("label", FieldType.string),
    ],
  });
  const theme = createTheme({ colors: { mode: "light" } });
  createRoot(document.getElementById("root")).render(<FlameGraph data={frame} getTheme={() => theme} />);
  return nodes;
};
