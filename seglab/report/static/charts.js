// What the plots show: curves, classes, confusion, what settings do.

function drawCurves() {
  const found = new Set(shown.flatMap((place) => Object.keys(report.runs[place].curves)));
  const rates = [...found].filter((name) => name.startsWith("lr/"));
  const plots = single
    ? [["Loss", ["train/loss", "val/loss"]], ["mIoU", ["val/mIoU"]], ["Mask AP", ["val/mask_AP", "val/mask_AP50"]], ["Learning rate", rates]]
    : [["Training loss", ["train/loss"]], ["Validation loss", ["val/loss"]], ["Validation mIoU", ["val/mIoU"]], ["Validation mask AP", ["val/mask_AP"]], ...rates.map((name) => [`Learning rate: ${name.slice(3)}`, [name]])];
  const drawn = plots
    .map(([title, names]) => [title, names.filter((name) => found.has(name))])
    .filter(([, names]) => names.length);
  $("curves").hidden = !drawn.length;
  const boxes = drawn.map(([title, names]) => {
    const box = h("div", { class: "plot" });
    const values = [];
    const labels = single ? names : shown.map((place) => report.runs[place].name);
    shown.forEach((place, rank) => {
      const run = report.runs[place];
      for (const name of names) {
        const label = single ? name : run.name;
        for (const [step, value] of run.curves[name] ?? []) {
          values.push({ step, value, run: label, rank: rank + 1 });
        }
      }
    });
    const zero = !title.endsWith("oss");
    const few = values.length <= 40 * labels.length;
    plot(box, `${title} over the steps of ${labels.length} curves`, {
      title,
      width: "container",
      height: 260,
      data: { values },
      params: [{ name: "zoom", select: "interval", bind: "scales" }],
      // Expressions are interpreted, and there are many points: none that need not be.
      mark: { type: "line", strokeWidth: labels.length > MANY ? 1 : 2, opacity: labels.length > MANY ? 0.6 : 0.9, point: few ? { size: 30 } : false, tooltip: { content: "data" }, clip: true, aria: false, invalid: "show" },
      encoding: {
        x: { field: "step", type: "quantitative", scale: { nice: false }, axis: { tickCount: 8 } },
        y: { field: "value", type: "quantitative", title: null, scale: { zero }, axis: { format: ".3~g", tickCount: 6 } },
        color: colour(labels),
        detail: { field: "run" },
      },
    }, { formatTooltip: curveTip });
    return box;
  });
  $("curves").querySelector(".grid").replaceChildren(...boxes);
}

/** What the pointer shows of a point of a curve; `sanitize` is vega-tooltip's: it makes text of values. */
function curveTip({ run, step, value }, sanitize) {
  const rows = [[single ? "curve" : "run", run], ["step", step], ["value", Number(value.toPrecision(4))]];
  return `<table>${rows.map(([key, text]) => `<tr><td class="key">${key}</td><td class="value">${sanitize(String(text))}</td></tr>`).join("")}</table>`;
}

/** The families of per-class measures that any run has, such as val/IoU/. */
function families() {
  const names = report.runs.flatMap((run) => Object.keys(run.metrics));
  const found = names.map((name) => name.match(/^val\/[^/]+\//)?.[0]).filter(Boolean);
  return [...new Set(found)].sort();
}

function drawClasses() {
  const family = $("family").value;
  const section = $("classes");
  const measured = shown.filter((place) => Object.keys(report.runs[place].metrics).some((name) => name.startsWith(family)));
  section.hidden = !family;
  if (!family) return;
  const classes = [...new Set(measured.flatMap((place) => report.runs[place].classes))];
  const value = (place, name) => report.runs[place].metrics[family + name] ?? null;
  const rows = measured.flatMap((place) =>
    classes.map((name) => ({ run: report.runs[place].name, class: name, value: value(place, name) })),
  );
  const title = short(family.slice(0, -1));
  const tooltip = [...(single ? [] : [{ field: "run" }]), { field: "class" }, { field: "value", title, format: ".4f" }];
  const box = h("div", { class: "plot" });
  section.querySelector(".plot").replaceWith(box);
  const heads = ["class", ...measured.map((place) => (single ? title : report.runs[place].name))];
  fill(section.querySelector("table"), heads, classes.map((name) => [name, ...measured.map((place) => value(place, name))]));
  if (single) {
    const sorted = rows.filter((row) => row.value !== null).sort((a, b) => b.value - a.value);
    const y = { field: "class", type: "nominal", title: null, sort: sorted.map((row) => row.class) };
    const x = { field: "value", type: "quantitative", title, scale: { domain: [0, 1] }, axis: { tickCount: 5 } };
    plot(box, `${title} of each class, the best first`, {
      width: "container",
      height: 20 * sorted.length,
      data: { values: sorted },
      encoding: { y, x, tooltip },
      layer: [
        { mark: { type: "bar", color: "#4c86c6", cornerRadiusEnd: 2 } },
        { mark: { type: "text", align: "left", dx: 4 }, encoding: { text: { field: "value", format: ".4f" } } },
      ],
    });
    return;
  }
  plot(box, `${title} of each class in each run, as a heat map`, heatMap(rows, {
    y: { field: "run", type: "nominal", title: null, sort: null },
    x: { field: "class", type: "nominal", title: null, sort: null },
    tooltip, title, labels: measured.length <= 30 && classes.length <= 25, step: measured.length > 40 ? 16 : 24,
  }));
}

function drawConfusion(run) {
  const part = $("confusion");
  part.hidden = !run.confusion;
  if (!run.confusion) return;
  const names = run.classes;
  const values = run.confusion.flatMap((row, i) => {
    const total = row.reduce((sum, pixels) => sum + pixels, 0);
    return row.map((pixels, j) => ({ truth: names[i], prediction: names[j], pixels, value: total ? pixels / total : null }));
  });
  const box = h("div", { class: "plot" });
  part.querySelector(".plot").replaceWith(box);
  const tooltip = [{ field: "truth" }, { field: "prediction" }, { field: "value", title: "share of the truth", format: ".4f" }, { field: "pixels", format: "," }];
  plot(box, "Confusion matrix, each row divided by the pixels of its true class", heatMap(values, {
    y: { field: "truth", type: "nominal", title: "truth", sort: null },
    x: { field: "prediction", type: "nominal", title: "prediction", sort: null },
    tooltip, title: "share", labels: names.length <= 25, step: names.length <= 12 ? 34 : 24,
  }));
}

function drawSweep() {
  const results = shown.filter((place) => !missing(miou(report.runs[place])));
  const named = report.differing.slice(0, report.named || report.differing.length);
  const parted = new Map(); // settings that always change together are drawn once
  for (const key of named) {
    const texts = results.map((place) => settingOf(report.runs[place], key));
    const parts = texts.map((text) => texts.indexOf(text)).join();
    if (new Set(texts).size > 1 && !parted.has(parts)) parted.set(parts, key);
  }
  const keys = [...parted.values()].slice(0, 12);
  $("sweep").hidden = single || results.length < 3 || !keys.length;
  if ($("sweep").hidden) return;
  const boxes = keys.map((key) => {
    const texts = results.map((place) => settingOf(report.runs[place], key));
    const isNumber = numeric(texts) && !texts.includes("") && new Set(texts).size > 2;
    const values = results.map((place, at) => ({
      run: report.runs[place].name,
      setting: isNumber ? Number(texts[at]) : texts[at] || "(not set)",
      value: miou(report.runs[place]),
    }));
    const sizes = values.map((row) => row.setting);
    const log = isNumber && Math.min(...sizes) > 0 && Math.max(...sizes) / Math.min(...sizes) >= 50;
    const x = isNumber
      ? { field: "setting", type: "quantitative", title: key, scale: log ? { type: "log", padding: 12 } : { zero: false, padding: 12 }, axis: { format: "~g", labelOverlap: true } }
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
