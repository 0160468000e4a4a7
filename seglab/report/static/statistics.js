// Tables of statistics: means over seeds, differences to the best, what mattered.

const ends = ({ low, high, unreliable }) => missing(low) ? "–" : `${number(low)} to ${number(high)}${unreliable ? " *" : ""}`;

function showSeeds() {
  const section = $("seeds");
  section.hidden = !report.groups.length && !report.repeats.length;
  section.querySelector(".scroll").hidden = !report.groups.length;
  $("repeats").replaceChildren(...report.repeats.map((text) => h("li", {}, text)));
  fill(section.querySelector("table"), ["settings", "mean val/mIoU", "±", "95 % interval", "seeds"],
    report.groups.map((group) => [group.label, group.mean, group.deviation, ends(group), String(group.seeds)]));
}

function showPairs() {
  const kinds = [["groupPairs", report.groupPairs, "settings", "over seeds and images, on"], ["pairs", report.pairs, "run", "paired over"]];
  for (const [id, pairs, what, over] of kinds) {
    const part = $(id);
    part.hidden = !pairs.length;
    if (part.hidden) continue;
    const several = pairs.length > 1;
    fill(part.querySelector("table"), [what, "mIoU less than the best", "95 % interval", "p"],
      pairs.map((pair) => [pair.other, pair.difference, ends(pair), pair.p]));
    part.querySelector("p").textContent =
      `${pairs[0].better} minus each other, ${over} ${pairs[0].images} images` +
      (several ? "; intervals after Bonferroni, p-values after Holm." : ".");
  }
  $("pairs").open = !report.groupPairs.length;
  $("differences").hidden = !report.pairs.length && !report.groupPairs.length;
}

function showEffects() {
  $("effects").hidden = !report.effects;
  if (!report.effects) return;
  const share = (value) => (missing(value) ? "–" : `${Math.round(100 * value)} %`);
  const { effects, seed } = report.effects;
  const forest = effects.some(({ fanova }) => !missing(fanova));
  const rows = [];
  for (const { key, share: part, fanova, levels } of effects) {
    levels.forEach(({ text, runs, mean, low, high }, place) => {
      const half = missing(low) ? "–" : `± ${number((high - low) / 2)}`;
      const shares = forest ? [share(part), share(fanova)] : [share(part)];
      rows.push([place ? "" : key, ...shares.map((text) => (place ? "" : text)), text, mean, half, String(runs)]);
    });
  }
  if (!missing(seed)) rows.push(["seed, within equal settings", share(seed), ...(forest ? [""] : []), "", "", "", ""]);
  fill($("effects").querySelector("table"),
    ["setting", "share", ...(forest ? ["fANOVA"] : []), "value", "mean val/mIoU", "±", "runs"], rows);
  $("forest").textContent = forest ? "fANOVA: the share that a random forest gives to the setting by itself (Optuna)." : `${report.forest}.`;
}
