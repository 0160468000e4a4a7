// The curves: one colour a run, or a setting whose seeds are a band around their mean.

function drawCurves() {
  const found = new Set(shown.flatMap((place) => Object.keys(report.runs[place].curves)));
  const rates = [...found].filter((name) => name.startsWith("lr/"));
  const plots = single
    ? [["Loss", ["train/loss", "val/loss"]], ["mIoU", ["val/mIoU"]], ["Mask AP", ["val/mask_AP", "val/mask_AP50"]], ["Learning rate", rates]]
    : [["Training loss", ["train/loss"]], ["Validation loss", ["val/loss"]], ["Validation mIoU", ["val/mIoU"]], ["Validation mask AP", ["val/mask_AP"]], ...rates.map((name) => [`Learning rate: ${name.slice(3)}`, [name]])];
  const drawn = plots
    .map(([title, names]) => [title, names.filter((name) => found.has(name))])
    .filter(([, names]) => names.length);
  const lines = curveLines();
  $("curves").hidden = !drawn.length;
  $("curves").querySelector(".grid").replaceChildren(...drawn.map(([title, names]) => curvePlot(title, names, lines)));
  const banded = lines.length <= MANY ? ", and its band reaches from the lowest to the highest of them" : "";
  $("bands").hidden = !lines.some(({ places }) => places.length > 1);
  $("bands").textContent = `A line is the mean over seeds${banded}.`;
}

/** What is drawn as one line each: groups of seeds, and the other runs, in the order of the table. */
function curveLines() {
  const groupOf = new Map(report.groups.flatMap((group) => group.runs.map((place) => [place, group])));
  const lines = new Map();
  for (const place of shown) {
    const group = groupOf.get(place);
    const key = group ?? place;
    if (!lines.has(key)) lines.set(key, { label: group ? group.label : report.runs[place].label, places: [] });
    lines.get(key).places.push(place);
  }
  return [...lines.values()];
}

/** The mean of curves at the steps that all of them have, with the lowest and the highest value. */
function meanCurve(curves) {
  const steps = new Map();
  for (const [step, value] of curves.flat()) {
    if (!steps.has(step)) steps.set(step, []);
    steps.get(step).push(value);
  }
  return [...steps]
    .filter(([, values]) => values.length === curves.length)
    .map(([step, values]) => ({ step, value: values.reduce((a, b) => a + b) / values.length, low: Math.min(...values), high: Math.max(...values) }));
}

function curvePlot(title, names, lines) {
  const values = [];
  const labels = single ? names : lines.map(({ label }) => label);
  lines.forEach(({ label, places }, rank) => {
    for (const name of names) {
      const curves = places.map((place) => curveOf(report.runs[place], name)).filter(Boolean);
      const points = curves.length > 1 ? meanCurve(curves) : curves.flat().map(([step, value]) => ({ step, value }));
      const every = Math.ceil((points.length * labels.length) / POINTS);
      points
        .filter((_, at) => (points.length - 1 - at) % every === 0)
        .forEach((point) => values.push({ ...point, run: single ? name : label, rank: rank + 1 }));
    }
  });
  const zero = !title.endsWith("oss");
  const few = values.length <= 40 * labels.length;
  const many = labels.length > MANY;
  const y = { type: "quantitative", title: null, scale: { zero }, axis: { format: ".3~g", tickCount: 6 } };
  // Expressions are interpreted, and there are many points: none that need not be.
  const line = {
    params: [{ name: "zoom", select: "interval", bind: "scales" }],
    mark: { type: "line", strokeWidth: many ? 1 : 2, opacity: many ? 0.6 : 0.9, point: few ? { size: many ? 10 : 30 } : false, tooltip: { content: "data" }, clip: true, aria: false, invalid: "show" },
    encoding: { y: { field: "value", ...y } },
  };
  const banded = many ? [] : values.filter((point) => "low" in point);
  const band = {
    data: { values: banded },
    mark: { type: "area", opacity: 0.2, clip: true, aria: false, tooltip: null },
    encoding: { y: { field: "low", ...y }, y2: { field: "high" } },
  };
  const box = h("div", { class: "plot" });
  plot(box, `${title} over the steps of ${labels.length} curves`, {
    title,
    width: "container",
    height: 260,
    data: { values },
    encoding: {
      x: { field: "step", type: "quantitative", scale: { nice: false }, axis: { tickCount: 8 } },
      color: colour(labels),
      detail: { field: "run" },
    },
    layer: banded.length ? [band, line] : [line],
  }, { formatTooltip: curveTip });
  return box;
}

/** What the pointer shows of a point of a curve; `sanitize` is vega-tooltip's: it makes text of values. */
function curveTip({ run, step, value, low, high }, sanitize) {
  const short = (one) => Number(one.toPrecision(4));
  const rows = [[single ? "curve" : "run", run], ["step", step], [missing(low) ? "value" : "mean", short(value)]];
  if (!missing(low)) rows.push(["seeds", `${short(low)} to ${short(high)}`]);
  return `<table>${rows.map(([key, text]) => `<tr><td class="key">${key}</td><td class="value">${sanitize(String(text))}</td></tr>`).join("")}</table>`;
}
