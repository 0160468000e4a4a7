// The plots, by Vega-Lite. Names are data throughout, never part of an expression.

const dark = matchMedia("(prefers-color-scheme: dark)");
const MANY = 12; // more runs than this are coloured by rank and named by the pointer only
const MOST = 100; // rows of a heat map; the filter chooses which
const POINTS = 8000; // of the curves of a plot: a point takes 20 µs to draw

function theme() {
  const style = getComputedStyle(document.documentElement);
  const [ink, faint, line] = ["--ink", "--faint", "--line"].map((name) => style.getPropertyValue(name).trim());
  return {
    background: null,
    font: getComputedStyle(document.body).fontFamily,
    view: { stroke: line },
    axis: { labelColor: faint, titleColor: faint, gridColor: line, domainColor: line, tickColor: line, labelLimit: 180, titleFontWeight: 500 },
    legend: { labelColor: ink, titleColor: faint, labelLimit: 220, symbolStrokeWidth: 3 },
    title: { color: ink, anchor: "start", fontSize: 13, fontWeight: 600 },
    text: { color: ink },
  };
}

// One plot at a time, with a pause after each, so that the page scrolls while they are drawn.
let drawing = Promise.resolve();

/** Draw a plot when it comes into view; `describe` is what it shows, in words. `tip` writes tooltips. */
function plot(element, describe, spec, tip = {}) {
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", describe);
  element.style.minHeight = `${Math.min(spec.height?.step ? 200 : (spec.height ?? 200), 320)}px`;
  whenSeen(element, () => {
    const options = {
      actions: false,
      ast: true, // interpreted, not compiled: the page may not turn text into code
      renderer: "canvas",
      tooltip: { theme: dark.matches ? "dark" : "light", ...tip },
      config: theme(),
    };
    const full = { $schema: "https://vega.github.io/schema/vega-lite/v6.json", description: describe, ...spec };
    const draw = async () => {
      if (!element.isConnected) return; // another filter has replaced it
      await vegaEmbed(element, full, options);
      element.setAttribute("data-drawn", "");
      element.style.minHeight = ""; // kept the place until now
    };
    const pause = () => new Promise((done) => setTimeout(done, 20));
    drawing = drawing.then(draw).catch((error) => console.error(error)).then(pause);
  });
}

/** A colour for each curve: told apart where they are few, by rank where they are many. */
function colour(names) {
  if (names.length > MANY) {
    const legend = { type: "gradient", orient: "bottom", direction: "horizontal", gradientThickness: 8, titleOrient: "left" };
    return { field: "rank", type: "quantitative", title: "rank", scale: { scheme: "viridis", reverse: dark.matches }, legend };
  }
  const longest = Math.max(...names.map((name) => name.length));
  const columns = Math.max(1, Math.floor(60 / (longest + 5))); // about as many letters fit a plot
  const legend = names.length > 1 ? { orient: "bottom", columns, symbolType: "stroke", symbolOpacity: 1 } : null;
  return { field: "run", type: "nominal", title: null, scale: { domain: names, scheme: "tableau10" }, legend };
}

/** Cells from the page's own colour (0) to a full one (1), with their numbers where there is room. */
function heatMap(values, { y, x, tooltip, title, labels, step }) {
  const [low, high, onHigh, onLow] = dark.matches
    ? ["#1d2126", "#8cc1ff", "#14171b", "#e6e9ed"]
    : ["#f6f7f9", "#0b4f9e", "#ffffff", "#20242a"];
  const scale = { domain: [0, 1], range: [low, high], interpolate: "rgb" };
  const color = { field: "value", type: "quantitative", title, scale };
  const wide = new Set(values.map((row) => row[x.field])).size;
  const write = {
    mark: { type: "text", fontSize: 10 },
    encoding: {
      text: { field: "value", format: ".2f" },
      color: { condition: { test: "datum.value > 0.5", value: onHigh }, value: onLow },
      opacity: { condition: { test: "datum.value < 0.005", value: 0.35 }, value: 1 },
    },
  };
  const room = 900 / wide;
  return {
    width: { step: labels ? Math.max(36, Math.min(60, room)) : Math.max(14, Math.min(40, room)) },
    height: { step },
    data: { values: values.filter((row) => row.value !== null) },
    encoding: { x: { ...x, axis: { orient: "top", labelAngle: -45 } }, y, tooltip },
    layer: [{ mark: { type: "rect", stroke: low, strokeWidth: 0.5 }, encoding: { color } }, ...(labels ? [write] : [])],
  };
}
