// Photographs with their class maps: one image across runs, a run's worst, and the large view.

const PARTS = ["image", "truth", "prediction"];

/** A picture that takes up its data when it comes into view. */
function picture(sample, part, alt) {
  const image = h("img", { alt, decoding: "async", class: part ? "map" : null });
  whenSeen(image, () => (image.src = report.uris[sample.at[part]]));
  return image;
}

const caption = (sample) => (missing(sample.miou) ? sample.id : `${sample.id} · mIoU ${number(sample.miou)}`);

/** Fill an element with figures to be enlarged; each has a title, a sample and the parts shown. */
function gallery(element, figures) {
  const made = figures.map(({ title, sample, parts }, at) => {
    const images = parts.map((part) => picture(sample, part, `${PARTS[part]} ${sample.id}`));
    const inside = images.length === 1 ? images[0] : h("span", { class: "three" }, ...images);
    const open = () => enlarge(figures, at);
    const label = `Enlarge ${title}`;
    return h("figure", {},
      h("button", { class: "shot", type: "button", "aria-label": label, onclick: open }, inside),
      h("figcaption", {}, title),
    );
  });
  element.replaceChildren(...made);
}

let large = { figures: [], at: 0 };
function enlarge(figures, at) {
  large = { figures, at: (at + figures.length) % figures.length };
  const { title, sample, parts } = figures[large.at];
  $("largeTitle").textContent = title;
  const images = (parts.includes(2) ? [0, 1, 2] : [0, 1]).map((part) => {
    const alt = `${PARTS[part]} ${sample.id}`;
    const image = h("img", { src: report.uris[sample.at[part]], alt, class: part ? "map" : null });
    return h("figure", {}, image, h("figcaption", {}, PARTS[part]));
  });
  $("large").querySelector(".triple").replaceChildren(...images);
  if (!$("large").open) $("large").showModal(); // Escape closes it, and the focus goes back
}
$("largePrevious").addEventListener("click", () => enlarge(large.figures, large.at - 1));
$("largeNext").addEventListener("click", () => enlarge(large.figures, large.at + 1));
$("largeClose").addEventListener("click", () => $("large").close());
$("large").addEventListener("click", (event) => event.target === $("large") && $("large").close());
$("large").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step) enlarge(large.figures, large.at + step);
});

/** The images that runs share, the one that is hardest for them first. A truth tells data apart. */
function sharedSamples() {
  const found = new Map();
  for (const run of report.runs) {
    for (const sample of run.fixed) {
      const key = `${sample.id}\n${sample.at[1]}`;
      const entry = found.get(key) ?? { key, id: sample.id, sum: 0, count: 0 };
      if (!missing(sample.miou)) [entry.sum, entry.count] = [entry.sum + sample.miou, entry.count + 1];
      found.set(key, entry);
    }
  }
  const mean = ({ sum, count }) => (count ? sum / count : Infinity);
  return [...found.values()].sort((a, b) => mean(a) - mean(b) || a.id.localeCompare(b.id));
}

function prepareSamples() {
  const samples = sharedSamples();
  $("samples").hidden = single || !samples.length;
  if ($("samples").hidden) return;
  const label = ({ id, sum, count }) => (count ? `${id} · mean mIoU ${number(sum / count)}` : id);
  $("sample").replaceChildren(...samples.map((one) => h("option", { value: one.key }, label(one))));
  $("sample").addEventListener("change", drawSamples);
  for (const [id, step] of [["previous", -1], ["next", 1]]) {
    $(id).addEventListener("click", () => {
      const select = $("sample");
      select.selectedIndex = (select.selectedIndex + step + select.length) % select.length;
      drawSamples();
    });
  }
  legend($("samples").querySelector(".legend"), report.runs.find((run) => run.fixed.length).classes);
}

function drawSamples() {
  if ($("samples").hidden) return;
  const key = $("sample").value;
  const figures = shown.flatMap((place) => {
    const run = report.runs[place];
    const sample = run.fixed.find((one) => `${one.id}\n${one.at[1]}` === key);
    const title = sample && (missing(sample.miou) ? run.label : `${run.label} · ${number(sample.miou)}`);
    return sample ? [{ title, sample, parts: [2] }] : [];
  });
  const first = figures.length ? figures[0].sample : null;
  const head = first ? [0, 1].map((part) => ({ title: PARTS[part], sample: first, parts: [part] })) : [];
  gallery($("samples").querySelector(".tiles"), [...head, ...figures]);
}

function legend(element, classes) {
  const entries = [...classes.map((name, value) => [value, name]), [255, "void"]];
  element.replaceChildren(
    ...entries.map(([value, name]) => {
      const swatch = h("i");
      swatch.style.background = `rgb(${report.colours[value].join(" ")})`;
      return h("li", {}, swatch, name);
    }),
  );
}
