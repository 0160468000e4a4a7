// One run: its settings, confusion matrix and pictures.

function showRun(place, scroll = false) {
  const run = report.runs[place];
  $("run").value = String(place);
  const reason = run.reason ? `: ${run.reason}` : "";
  const times = [run.started && `started ${run.started}`, run.ended && `ended ${run.ended}`];
  const images = run.images && `${run.images} images measured`;
  $("about").textContent = [run.kind, run.state + reason, ...times, images, run.folder].filter(Boolean).join(" · ");
  drawConfusion(run);
  for (const kind of ["worst", "fixed"]) {
    $(kind).hidden = !run[kind].length;
    const figures = run[kind].map((sample) => ({ title: caption(sample), sample, parts: [0, 1, 2] }));
    gallery($(kind).querySelector(".shots"), figures);
  }
  const list = $("details").querySelector(".legend");
  list.hidden = !run.worst.length && !run.fixed.length;
  legend(list, run.classes);
  const given = run.overrides.map((one) => h("code", {}, one)).flatMap((one) => [one, " "]);
  $("overrides").replaceChildren(given.length ? "Overrides: " : "", ...given);
  const rows = Object.entries({ ...report.settings, ...run.settings });
  if (!single) rows.sort(([one], [other]) => one.localeCompare(other));
  fill($("settings").querySelector("table"), ["setting", "value"], rows);
  $("settings").hidden = !rows.length;
  if (scroll) $("details").scrollIntoView();
}

/** The cards above a single run's page. */
function drawHeadline() {
  const [run] = report.runs;
  const card = (name, value) => h("div", { class: "card" }, h("span", {}, name), h("b", {}, value));
  const cards = [card("state", run.state)];
  const value = run.metrics["val/mIoU"];
  if (!missing(value)) cards.push(card(missing(run.low) ? "val/mIoU" : `val/mIoU · 95 % ${interval(run)}`, number(value)));
  const best = run.metrics["best/epoch"];
  for (const name of report.columns.filter((one) => !missing(run.metrics[one]))) {
    const isBest = name === "best/val/mIoU" && !missing(best);
    cards.push(card(isBest ? `${short(name)} · ${best + 1}` : short(name), number(run.metrics[name])));
  }
  $("headline").replaceChildren(...cards);
  $("reason").hidden = !run.reason;
  $("reason").textContent = run.reason;
}
