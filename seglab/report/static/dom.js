// What the other scripts build with: elements made of text only, numbers, the state of the page.

const report = JSON.parse(document.getElementById("data").textContent);
const single = report.runs.length === 1;
const $ = (id) => document.getElementById(id);

// The places of the runs that the filter lets through, in the order of the table.
let shown = report.runs.map((_, place) => place);

/** Make an element. Children are elements or text; text never becomes markup. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** The points of a run's curve, [step, value]; undefined if it has none. */
function curveOf(run, name) {
  const curve = run.curves[name];
  return curve && curve.values.map((value, at) => [report.steps[curve.steps][at], value]);
}

const missing = (value) => value === null || value === undefined;
const number = (value) => (missing(value) ? "–" : value.toFixed(4));
const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(4);
const interval = (run) =>
  missing(run.low) ? "–" : `${number(run.low)} to ${number(run.high)}${run.unreliable ? " *" : ""}`;
const miou = (run) => (run.state === "finished" ? run.metrics["val/mIoU"] : null);
const short = (metric) => (metric === "best/val/mIoU" ? "best epoch's val/mIoU" : metric);

/** Call a function once things have been still for a moment. */
function settled(call, wait = 150) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(call, wait);
  };
}

// Work that waits until its element comes into view: two hundred runs have many pictures.
const waiting = new WeakMap();
const observer = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      observer.unobserve(target);
      waiting.get(target)();
    }
  },
  { rootMargin: "400px" },
);
function whenSeen(element, call) {
  waiting.set(element, call);
  observer.observe(element);
}
