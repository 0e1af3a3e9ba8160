// How numbers read: three digits, an error bar after them, and a reason where there is none.

/** A number with about three digits; a dash for null. */
export function shown(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  return value.toFixed(size >= 1 || size === 0 ? 2 : 3);
}

/** A number with its error bar and unit. */
export function withError(value, error, unit) {
  if (value === null || value === undefined) return null;
  const bar = error === null || error === undefined ? "" : ` ± ${shown(error)}`;
  return `${shown(value)}${bar} ${unit}`;
}

/** A share of 1 as per cent. */
export function percent(share) {
  return share === null || share === undefined ? "–" : `${Math.round(100 * share)}%`;
}

/** A word of findings.json for people: `left_upper` as `left upper`. */
export function words(name) {
  return name === null || name === undefined ? null : String(name).replaceAll("_", " ");
}
