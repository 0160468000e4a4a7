// The table of runs: sorted by its heads, filtered by its field.

const numeric = (values) => values.every((value) => value === "" || !Number.isNaN(Number(value)));
const settingOf = (run, key) => run.differing[key] ?? "";

const scored = (run) => (missing(miou(run)) && !missing(run.last) ? `last ${number(run.last)}` : number(miou(run)));

/** What the table shows: a head, the value it sorts by, the text, and whether it is a number. */
function tableColumns() {
  const columns = [
    { head: "run", value: (run) => run.name },
    ...(report.runs.some((run) => run.kind !== "train")
      ? [{ head: "kind", value: (run) => run.kind }]
      : []),
    { head: "state", value: (run) => run.state },
    { head: "val/mIoU", number: true, value: miou, text: scored },
    { head: "95 % interval", number: true, value: (run) => run.low, text: interval },
    ...(report.objectives.length > 1 ? [{ head: "Pareto front", value: (run) => (run.front ? "yes" : "") }] : []),
  ];
  const keys = $("all").checked ? report.differing : report.differing.slice(0, report.named || 6);
  for (const key of keys) {
    const isNumber = numeric(report.runs.map((run) => settingOf(run, key)));
    const value = (run) => {
      const text = settingOf(run, key);
      return isNumber && text !== "" ? Number(text) : text;
    };
    columns.push({ head: key, number: isNumber, value, text: (run) => rounded(settingOf(run, key)) });
  }
  for (const name of report.columns) {
    columns.push({ head: short(name), number: true, value: (run) => run.metrics[name] });
  }
  return columns;
}

const sorting = { head: "val/mIoU", ascending: false };

/** Order two runs by a column; what is missing comes last either way. */
function order(column, one, other) {
  const [a, b] = [column.value(report.runs[one]), column.value(report.runs[other])];
  const [noA, noB] = [missing(a) || a === "", missing(b) || b === ""];
  if (noA || noB) return noA - noB || one - other;
  const compared = column.number
    ? a - b
    : String(a).localeCompare(String(b), undefined, { numeric: true });
  return (sorting.ascending ? compared : -compared) || one - other;
}

/** Whether a run has every word of the filter in its name, state, reason or differing settings. */
const haystacks = report.runs.map((run) =>
  [run.name, run.state, run.reason, run.kind, ...run.overrides]
    .concat(report.differing.map((key) => `${key}=${settingOf(run, key)}`))
    .join("\n")
    .toLowerCase(),
);
function matches(place) {
  const words = $("filter").value.toLowerCase().split(/\s+/);
  return words.every((word) => haystacks[place].includes(word));
}

/** A run's name; only the end of a long one whose settings have columns of their own. */
const tail = ({ name, label }) => (name !== label && name.length > 24 ? `…${name.slice(-12)}` : name);

/** A fraction with four digits, as text; other text as it is. */
const rounded = (text) => (/^-?\d*\.\d{5,}(e-?\d+)?$/.test(text) ? String(Number(Number(text).toPrecision(4))) : text);

function cell(column, run, place) {
  const { head, value, text } = column;
  if (head === "run") {
    const open = () => showRun(place, true);
    const name = h("button", { class: "link", type: "button", title: run.folder, onclick: open }, tail(run));
    return h("th", { scope: "row" }, name);
  }
  if (head === "state") {
    const badge = h("span", { class: `state ${run.state}`, title: run.reason || null }, run.state);
    return h("td", {}, badge);
  }
  const content = text ? text(run) : column.number ? number(value(run)) : value(run);
  return h("td", { class: column.number ? "number" : "text", title: column.number ? null : content }, content);
}

function drawTable() {
  const columns = tableColumns();
  const by = columns.find(({ head }) => head === sorting.head) ?? columns[2];
  shown = report.runs.map((_, place) => place).filter(matches).sort((a, b) => order(by, a, b));
  const heads = columns.map((column) => {
    const mine = column === by;
    const sort = () => {
      sorting.ascending = mine ? !sorting.ascending : !column.number;
      sorting.head = column.head;
      drawTable();
      redraw();
      $("table").querySelectorAll("thead button")[columns.indexOf(column)].focus();
    };
    return h(
      "th",
      {
        scope: "col",
        class: column.number ? "number" : null,
        "aria-sort": mine ? (sorting.ascending ? "ascending" : "descending") : null,
      },
      h("button", { type: "button", onclick: sort }, column.head),
    );
  });
  const rows = shown.map((place) => {
    const run = report.runs[place];
    return h("tr", {}, ...columns.map((column) => cell(column, run, place)));
  });
  $("table").tHead.replaceChildren(h("tr", {}, ...heads));
  $("table").tBodies[0].replaceChildren(...rows);
  $("count").textContent = `${shown.length} of ${report.runs.length} runs`;
}

/** Fill a plain table. Cells are text, or numbers to be set right. */
function fill(table, heads, rows) {
  const item = (tag, value, attributes = {}) => {
    const isNumber = typeof value === "number" || value === null;
    const kind = isNumber ? "number" : value.length > 24 ? "whole" : null;
    return h(tag, { ...attributes, class: kind }, isNumber ? number(value) : value);
  };
  table.replaceChildren(
    h("thead", {}, h("tr", {}, ...heads.map((head, place) =>
      h("th", { scope: "col", class: rows.length && typeof rows[0][place] === "number" ? "number" : null }, head),
    ))),
    h("tbody", {}, ...rows.map(([first, ...rest]) =>
      h("tr", {}, h("th", { scope: "row" }, first), ...rest.map((value) => item("td", value))),
    )),
  );
}
