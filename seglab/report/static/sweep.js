// What the settings do: parallel coordinates, each setting against mIoU, the Pareto front.

/** Settings that differ between these runs; those that always change together are listed once. */
function sweptKeys(places) {
  const named = report.differing.slice(0, report.named || report.differing.length);
  const parted = new Map();
  for (const key of named.filter((one) => one !== "seed")) {
    const texts = places.map((place) => settingOf(report.runs[place], key));
    const levels = new Set(texts).size;
    const parts = levels < texts.length ? texts.map((text) => texts.indexOf(text)).join() : key;
    if (levels > 1 && !parted.has(parts)) parted.set(parts, key);
  }
  return [...parted.values()].slice(0, 12);
}

/** Whether numbers are spread over powers rather than sums: 1e-4 … 1e-1, but also 8, 16, 32. */
function isLogarithmic(numbers) {
  const sorted = [...new Set(numbers)].sort((a, b) => a - b);
  if (sorted.length < 3 || sorted[0] <= 0) return false;
  const ratios = sorted.slice(1).map((value, at) => value / sorted[at]);
  const even = Math.max(...ratios) / Math.min(...ratios) < 1.1 && ratios[0] >= 1.5;
  return even || sorted.at(-1) / sorted[0] >= 50;
}

/** The values of a setting: numbers where all are, and there are more than two of them. */
function valuesOf(key, places) {
  const texts = places.map((place) => settingOf(report.runs[place], key));
  const isNumber = numeric(texts) && !texts.includes("") && new Set(texts).size > 2;
  const values = texts.map((text) => (isNumber ? Number(text) : text || "(not set)"));
  return { values, isNumber, log: isNumber && isLogarithmic(values) };
}

/** An axis of the parallel coordinates: the height 0..1 of each value, and of some labels. */
function parallelAxis(title, values, isNumber, log) {
  if (!isNumber) {
    const names = [...new Set(values)].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
    const height = (value) => (names.indexOf(value) + 0.5) / names.length;
    const some = names.filter((_, at) => at % Math.ceil(names.length / 10) === 0);
    return { title, heights: values.map(height), labels: some.map((text) => ({ text, height: height(text) })) };
  }
  const scale = log ? Math.log10 : (value) => value;
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const height = (value) => (high > low ? (scale(value) - scale(low)) / (scale(high) - scale(low)) : 0.5);
  const levels = [...new Set(values)];
  let ticks = levels.length <= 6 ? levels : [0, 0.25, 0.5, 0.75, 1].map((part) => low + part * (high - low));
  if (levels.length > 6 && log) {
    const powers = Array.from({ length: 40 }, (_, at) => 10 ** (Math.ceil(Math.log10(low)) + at)).filter((one) => one <= high);
    ticks = [low, ...powers.filter((one) => height(one) > 0.06 && height(one) < 0.94), high];
  }
  const text = (value) => String(Number(value.toPrecision(3)));
  return { title, heights: values.map(height), labels: ticks.map((value) => ({ text: text(value), height: height(value) })) };
}

function drawParallel(results, keys) {
  const scores = results.map((place) => miou(report.runs[place]) ?? report.runs[place].last);
  const axes = keys.map((key) => {
    const { values, isNumber, log } = valuesOf(key, results);
    return parallelAxis(key.replace(/\.name$/, "").split(".").at(-1), values, isNumber, log);
  });
  axes.push(parallelAxis("mIoU", scores, true, false));
  const rows = results.flatMap((place, at) => {
    const run = report.runs[place];
    return axes.map((axis, x) => ({ run: run.name, x, height: axis.heights[at], mIoU: scores[at], ended: run.state }));
  });
  const labels = axes.flatMap((axis, x) => axis.labels.map(({ text, height }) => ({ x, text, height })));
  const heads = axes.map(({ title }, x) => ({ x, text: title, height: 1 }));
  const box = h("div", { class: "plot", id: "parallel" });
  $("parallel").replaceWith(box);
  const last = axes.length - 1;
  const text = { type: "text", fontSize: 11 };
  const paper = getComputedStyle(document.documentElement).getPropertyValue("--paper").trim();
  const edge = (layer) => [["left", `datum.x < ${last}`, 6], ["right", `datum.x == ${last}`, -6]].flatMap(([align, filter, dx]) =>
    [{ stroke: paper, strokeWidth: 4, strokeJoin: "round" }, {}].map((halo) => ({
      ...layer, transform: [{ filter }], mark: { ...text, ...layer.mark, ...halo, align, dx },
    })));
  const opacity = results.length > 100 ? 0.25 : 0.6;
  plot(box, `Parallel coordinates of ${results.length} runs: ${axes.map(({ title }) => title).join(", ")}`, {
    width: "container",
    height: 300,
    padding: { top: 24, left: 5, right: 5, bottom: 5 },
    encoding: {
      x: { field: "x", type: "quantitative", scale: { domain: [0, last], nice: false, zero: false, padding: 4 }, axis: null },
      y: { field: "height", type: "quantitative", scale: { domain: [0, 1], nice: false }, axis: null },
    },
    layer: [
      { data: { values: heads }, mark: { type: "rule", color: theme().axis.labelColor, opacity: 0.5 }, encoding: { y: { datum: 0 }, y2: { datum: 1 } } },
      {
        data: { values: rows },
        mark: { type: "line", strokeWidth: results.length > 100 ? 1 : 2, opacity, aria: false, tooltip: null },
        encoding: {
          detail: { field: "run" },
          color: { field: "mIoU", type: "quantitative", title: "mIoU", scale: { scheme: "viridis", reverse: !dark.matches }, legend: null },
          ...(rows.some(({ ended }) => ended !== "finished") ? { strokeDash: { field: "ended", type: "nominal", title: null, scale: { domain: ["finished", "pruned"], range: [[1, 0], [4, 3]] }, legend: { orient: "bottom", symbolType: "stroke" } } } : {}),
        },
      },
      ...edge({ data: { values: labels }, mark: { baseline: "middle" }, encoding: { text: { field: "text" } } }),
      ...edge({ data: { values: heads }, mark: { dy: -14, fontWeight: 600, limit: Math.max(50, Math.min(200, (0.6 * innerWidth) / axes.length)) }, encoding: { text: { field: "text" } } }),
    ],
  });
}

function drawSweep() {
  const scored = shown.filter((place) => !missing(miou(report.runs[place])) || (report.runs[place].state === "pruned" && !missing(report.runs[place].last)));
  const results = shown.filter((place) => !missing(miou(report.runs[place])));
  const keys = sweptKeys(scored);
  $("sweep").hidden = single || scored.length < 3 || !keys.length;
  if ($("sweep").hidden) return;
  drawParallel(scored, keys);
  const boxes = keys.map((key) => {
    const { values: settings, isNumber, log } = valuesOf(key, results);
    const levels = [...new Set(settings)];
    const values = results.map((place, at) => ({ run: report.runs[place].label, setting: settings[at], value: miou(report.runs[place]) }));
    const x = isNumber
      ? { field: "setting", type: "quantitative", title: key, scale: log ? { type: "log", nice: false, padding: 12 } : { zero: false, padding: 12 }, axis: { format: "~g", labelOverlap: true, ...(levels.length <= 8 ? { values: levels } : {}) } }
      : { field: "setting", type: "nominal", title: key, axis: { labelAngle: -30, labelLimit: 110 } };
    const box = h("div", { class: "plot" });
    plot(box, `mIoU against ${key}`, {
      width: "container",
      height: 220,
      data: { values },
      mark: { type: "point", filled: true, size: 60, opacity: 0.7, color: "#4c86c6" },
      encoding: {
        x,
        y: { field: "value", type: "quantitative", title: "mIoU", scale: { zero: false } },
        tooltip: [{ field: "run" }, { field: "setting", title: key }, { field: "value", title: "mIoU", format: ".4f" }],
      },
    });
    return box;
  });
  $("sweep").querySelector(".grid").replaceChildren(...boxes);
}

/** The first two objectives of a search against each other, the front joined by a line. */
function drawFront() {
  const [first, second] = report.objectives;
  $("front").hidden = !second;
  if (!second) return;
  const values = shown
    .map((place) => report.runs[place])
    .filter((run) => run.state === "finished" && !missing(run.metrics[first]) && !missing(run.metrics[second]))
    .map((run) => ({ run: run.label, a: run.metrics[first], b: run.metrics[second], front: run.front ? "on the front" : "beaten" }));
  const box = h("div", { class: "plot" });
  $("front").querySelector(".plot").replaceWith(box);
  const axis = (field, title) => ({ field, type: "quantitative", title, scale: { zero: false, padding: 12 } });
  const onFront = { filter: { field: "front", equal: "on the front" } };
  plot(box, `${first} against ${second}, with the Pareto front`, {
    width: "container",
    height: 300,
    data: { values },
    encoding: { x: axis("b", second), y: axis("a", first) },
    layer: [
      ...(report.objectives.length === 2 ? [{ transform: [onFront], mark: { type: "line", interpolate: "linear", color: "#e0762f", opacity: 0.6 } }] : []),
      {
        mark: { type: "point", filled: true, size: 70, opacity: 0.8 },
        encoding: {
          color: { field: "front", type: "nominal", title: null, scale: { domain: ["on the front", "beaten"], range: ["#e0762f", "#4c86c6"] }, legend: { orient: "bottom" } },
          tooltip: [{ field: "run" }, { field: "a", title: first, format: ".4f" }, { field: "b", title: second, format: ".4f" }],
        },
      },
    ],
  });
}
