// Plots of classes: their measures in each run, and the confusion matrix of one.

/** The families of per-class measures that any run has, such as val/IoU/. */
function families() {
  const names = report.runs.flatMap((run) => Object.keys(run.metrics));
  const found = names.map((name) => name.match(/^val\/[^/]+\//)?.[0]).filter(Boolean);
  return [...new Set(found)].sort();
}

function drawClasses() {
  const family = $("family").value;
  const section = $("classes");
  section.hidden = !family;
  if (!family) return;
  const all = shown.filter((place) => Object.keys(report.runs[place].metrics).some((name) => name.startsWith(family)));
  const measured = all.slice(0, MOST);
  $("left").hidden = all.length <= MOST;
  $("left").textContent = `The first ${MOST} runs of the table; sort or filter it to see others.`;
  const classes = [...new Set(measured.flatMap((place) => report.runs[place].classes))];
  const value = (place, name) => report.runs[place].metrics[family + name] ?? null;
  const rows = measured.flatMap((place) =>
    classes.map((name) => ({ run: report.runs[place].label, class: name, value: value(place, name) })),
  );
  const title = short(family.slice(0, -1));
  const tooltip = [...(single ? [] : [{ field: "run" }]), { field: "class" }, { field: "value", title, format: ".4f" }];
  const box = h("div", { class: "plot" });
  section.querySelector(".plot").replaceWith(box);
  const heads = ["class", ...measured.map((place) => (single ? title : report.runs[place].label))];
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
