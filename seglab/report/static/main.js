// Puts the page together.

function redraw() {
  drawCurves();
  drawClasses();
  drawSweep();
  drawSamples();
}

function states() {
  const counts = new Map();
  for (const { state } of report.runs) counts.set(state, (counts.get(state) ?? 0) + 1);
  return [...counts].map(([state, count]) => (single ? state : `${count} ${state}`)).join(", ");
}

$("title").textContent = report.title;
const where = single ? `${report.runs[0].kind} · ${report.runs[0].folder}` : states();
$("summary").textContent = `${where} · made ${report.made.replace("T", " ").replace("+00:00", " UTC")}`;
$("footnote").hidden = !report.footnote;
$("footnote").textContent = report.footnote;
$("leftOut").hidden = !report.leftOut;
$("leftOut").textContent = `The pictures of ${report.leftOut} samples are left out to keep this page small; they lie in the run folders under samples/.`;

const kinds = families();
$("family").replaceChildren(...kinds.map((name) => h("option", { value: name }, short(name.slice(0, -1)))));
if (kinds.includes("val/IoU/")) $("family").value = "val/IoU/";
$("family").parentElement.hidden = kinds.length < 2;
$("family").addEventListener("change", drawClasses);

if (single) {
  for (const id of ["runs", "seeds", "pairs", "effects"]) $(id).hidden = true;
  $("details").querySelector("h2").hidden = true;
  $("run").parentElement.hidden = true;
  $("about").hidden = true;
  drawHeadline();
} else {
  $("headline").hidden = true;
  drawTable();
  $("filter").addEventListener("input", settled(() => {
    drawTable();
    redraw();
  }));
  $("all").parentElement.hidden = report.differing.length <= (report.named || 6);
  $("all").addEventListener("change", drawTable);
  $("seeds").hidden = !report.groups.length && !report.repeats.length;
  $("seeds").querySelector(".scroll").hidden = !report.groups.length;
  $("repeats").replaceChildren(...report.repeats.map((text) => h("li", {}, text)));
  const keys = report.differing.slice(0, report.named).filter((key) => key !== "seed");
  const what = (run) => keys.map((key) => `${key}=${settingOf(run, key)}`).join(" ") || "all settings";
  fill($("seeds").querySelector("table"), ["settings", "mean val/mIoU", "±", "seeds", "runs"],
    report.groups.map(({ runs, seeds, mean, deviation }) => {
      const names = runs.map((place) => report.runs[place].name).join(", ");
      return [what(report.runs[runs[0]]), mean, deviation, String(seeds), names];
    }));
  $("pairs").hidden = !report.pairs.length;
  if (report.pairs.length) {
    const { better, images } = report.pairs[0];
    const several = report.pairs.length > 1;
    fill($("pairs").querySelector("table"), ["run", "mIoU less than the best", "95 % interval", "p"],
      report.pairs.map(({ other, difference, low, high, unreliable, p }) =>
        [other, difference, `${number(low)} to ${number(high)}${unreliable ? " *" : ""}`, p]));
    $("pairs").querySelector("p").textContent =
      `${better} minus each other run, paired over ${images} images` +
      (several ? "; intervals after Bonferroni, p-values after Holm." : ".");
  }
  $("effects").hidden = !report.effects;
  if (report.effects) {
    const share = (value) => (missing(value) ? "–" : `${Math.round(100 * value)} %`);
    const rows = [];
    for (const { key, share: part, levels } of report.effects.effects) {
      levels.forEach(({ text, runs, mean, low, high }, place) => {
        const half = missing(low) ? "–" : `± ${number((high - low) / 2)}`;
        rows.push([place ? "" : key, place ? "" : share(part), text, mean, half, String(runs)]);
      });
    }
    if (!missing(report.effects.seed)) {
      rows.push(["seed, within equal settings", share(report.effects.seed), "", "", "", ""]);
    }
    fill($("effects").querySelector("table"),
      ["setting", "share", "value", "mean val/mIoU", "±", "runs"], rows);
  }
}
$("run").replaceChildren(...report.runs.map((run, place) => h("option", { value: String(place) }, run.name)));
$("run").addEventListener("change", () => showRun(Number($("run").value)));
prepareSamples();
redraw();
showRun(0);
dark.addEventListener("change", () => {
  redraw();
  showRun(Number($("run").value));
});
document.body.dataset.ready = "";
