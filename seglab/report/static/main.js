// Puts the page together.

function redraw() {
  drawCurves();
  drawClasses();
  drawFront();
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
  for (const id of ["runs", "seeds", "differences", "effects"]) $(id).hidden = true;
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
  showSeeds();
  showPairs();
  showEffects();
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
