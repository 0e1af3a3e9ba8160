// What is known of the whole scan: findings, warnings, and who changed what when.

import { byId, make } from "./dom.js";
import { shown, withError } from "./numbers.js";

/** Show burden, spread and the proposal for T. */
export function showFindings({ burden, spread, stage, lungs }) {
  const part = (side) => (side && side.count !== null ? `${side.count}, ${shown(side.volume_ml)} mL` : null);
  const rows = [
    ["Tumour", withError(burden.volume_ml, null, "mL")],
    ["Of the lungs", burden.lung_fraction_percent === null ? burden.reasons.lung_fraction_percent : `${shown(burden.lung_fraction_percent)}%`],
    ["Lungs", withError(lungs.total_ml, null, "mL")],
    ["Right lung", part(spread.right)],
    ["Left lung", part(spread.left)],
    ["Zones with tumour", spread.zones_involved === null ? null : String(spread.zones_involved)],
    ["RECIST targets", burden.target_ids.length ? burden.target_ids.join(", ") : "none"],
    ["Sum of target axes", withError(burden.sum_of_target_axes_mm, null, "mm")],
    ["Largest distance", withError(spread.largest_distance_mm, null, "mm")],
  ].filter((row) => row[1] !== null && row[1] !== undefined);
  const list = byId("findings");
  list.replaceChildren(...rows.flatMap(([label, value]) => [make("dt", {}, label), make("dd", {}, value)]));
  if (stage) {
    const proposal = [stage.t ?? (stage.t_possible.length ? `one of ${stage.t_possible.join(", ")}` : "none"), stage.m].filter(Boolean);
    list.append(
      make("dt", {}, "Size and number propose"),
      make("dd", {}, proposal.join(" ")),
      make("dd", { class: "is-long is-missing", title: stage.caveat }, [stage.t_rule, stage.m_rule].filter(Boolean).join("; "), ". No stage."),
    );
  }
}

/** List the warnings in plain words. */
export function showWarnings(warnings) {
  const none = make("li", { class: "is-none" }, "none");
  byId("warnings").replaceChildren(...(warnings.length ? warnings.map((warning) => make("li", {}, warning.text)) : [none]));
  byId("warnings-count").textContent = warnings.length ? `(${warnings.length})` : "";
}

/** List the edits, the latest first. */
export function showHistory(edits) {
  byId("history-count").textContent = edits.length ? `(${edits.length})` : "";
  byId("history").replaceChildren(
    ...[...edits].reverse().map((edit) => {
      const changed = (edit.changed ?? []).filter((id) => id !== 0);
      const lesions = changed.length ? ` lesion ${changed.join(", ")}` : "";
      const volumes = `${shown(edit.volume_ml_before)} → ${shown(edit.volume_ml_after)} mL`;
      return make("li", {}, `${edit.kind}${lesions}: ${volumes} `, make("small", {}, `${edit.author}, ${when(edit.at)}`));
    }),
  );
}

function when(text) {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? text : date.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}
