// The list of lesions and the measures of the one that is selected.

import { lesionColour } from "./colours.js";
import { byId, make } from "./dom.js";
import { percent, shown, withError, words } from "./numbers.js";

/** Fill the list; `choose(id)` hears which lesion was picked. */
export function showLesions(findings, selected, accepted, choose) {
  const list = byId("lesions");
  list.replaceChildren(...findings.lesions.map((lesion) => line(lesion, selected, accepted, choose)));
  const { count, volume_ml: volume, lung_fraction_percent: share } = findings.burden;
  const ofLungs = share === null ? "" : `, ${shown(share)}% of the lungs`;
  const burden = byId("burden");
  burden.textContent = count === 0 ? "no lesion" : `${count} ${count === 1 ? "lesion" : "lesions"}, ${shown(volume)} mL${ofLungs}`;
  burden.dataset.volumeMl = String(volume);
  list.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
}

function line(lesion, selected, accepted, choose) {
  const isSelected = lesion.id === selected;
  const swatch = make("span", { class: "swatch" });
  swatch.style.backgroundColor = lesionColour(lesion.id);
  const where = [lesion.side, lesion.lobe ? words(lesion.lobe) : lesion.zone].filter(Boolean).join(", ") || "–";
  const item = make(
    "li",
    {
      role: "option", tabindex: "0", "aria-selected": String(isSelected), "data-lesion": lesion.id, title: where,
      "data-volume-ml": lesion.volume_ml, "data-voxels": lesion.voxel_count,
      "aria-label": `Lesion ${lesion.id}, ${shown(lesion.volume_ml)} mL, ${where}${accepted.has(lesion.id) ? ", accepted" : ""}`,
    },
    swatch,
    make("span", { class: accepted.has(lesion.id) ? "is-accepted" : null }, String(lesion.id)),
    make("span", {}, `${shown(lesion.volume_ml)} mL`),
    make("span", {}, lesion.long_axis_mm === null ? "–" : `${shown(lesion.long_axis_mm)} mm`),
    make("span", {}, where),
    make("span", {}, percent(lesion.probability)),
  );
  item.addEventListener("click", () => choose(lesion.id));
  item.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose(lesion.id);
    }
  });
  return item;
}

/** Show what was measured of the selected lesion; undefined where none is. */
export function showMeasures(lesion, isAccepted) {
  byId("measures-title").textContent = lesion ? `Lesion ${lesion.id}${isAccepted ? ", accepted" : ""}` : "No lesion selected";
  for (const button of byId("actions").children) button.disabled = !lesion;
  byId("actions").querySelector('[data-action="accept"]').setAttribute("aria-pressed", String(Boolean(lesion) && isAccepted));
  byId("measures").replaceChildren(...(lesion ? measuresOf(lesion).flatMap((row) => pair(lesion, ...row)) : []));
}

function measuresOf(lesion) {
  const mm = (name) => withError(lesion[name], lesion[`${name}_error`], "mm");
  return [
    ["Volume", "volume_ml", withError(lesion.volume_ml, lesion.volume_ml_error, "mL")],
    ["Long axis", "long_axis_mm", mm("long_axis_mm")],
    ["Short axis", "short_axis_mm", mm("short_axis_mm")],
    ["Longest, any plane", "longest_diameter_mm", mm("longest_diameter_mm")],
    ["Side", "side", words(lesion.side)],
    ["Zone", "zone", words(lesion.zone)],
    ["Region", "region", words(lesion.region)],
    ["Lobe", "lobe", words(lesion.lobe)],
    ["Probability", "probability", lesion.probability === null ? null : percent(lesion.probability)],
    ["Density", "mean_hu", withError(lesion.mean_hu, null, "HU")],
    ["Solid", "solid_percent", withError(lesion.solid_percent, null, "%")],
    ["To the pleura", "distance_to_pleura_mm", mm("distance_to_pleura_mm")],
    ["Next lesion", "nearest_lesion_mm", next(lesion)],
    ["Remarks", "flags", lesion.flags.length ? lesion.flags.map(words).join(", ") : null],
  ];
}

function next(lesion) {
  return lesion.nearest_lesion_id === null ? null : `${lesion.nearest_lesion_id}, ${shown(lesion.nearest_lesion_mm)} mm away`;
}

function pair(lesion, label, field, value) {
  if (value !== null) return [make("dt", {}, label), make("dd", { "data-measure": field }, value)];
  const reason = lesion.reasons[field];
  return reason ? [make("dt", {}, label), make("dd", { class: "is-missing", title: reason }, reason)] : [];
}
