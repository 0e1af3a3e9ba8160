// The colours of the report (report/panel.py): Okabe and Ito's, which colour-blind people can tell apart.

const LESION_COLOURS = ["#E69F00", "#56B4E9", "#F0E442", "#009E73", "#CC79A7", "#D55E00"];
// NiiVue's drawing has a byte a voxel: lesion 255 shares the value, and the colour, of lesion 1.
const VALUES = 254;

/** The colour of a lesion by its id, from 1, as "#RRGGBB". */
export function lesionColour(id) {
  return LESION_COLOURS[(valueOf(id) - 1) % LESION_COLOURS.length];
}

/** The value that stands for a lesion in NiiVue's drawing; 0 stays 0. */
export function valueOf(id) {
  return id === 0 ? 0 : ((id - 1) % VALUES) + 1;
}

/** Colours and opacities of all 256 values of a drawing, as NiiVue takes them. */
export function drawingColours() {
  const table = { R: [0], G: [0], B: [0], A: [0], I: [0] };
  for (let value = 1; value <= 255; value += 1) {
    const colour = lesionColour(value);
    table.R.push(parseInt(colour.slice(1, 3), 16));
    table.G.push(parseInt(colour.slice(3, 5), 16));
    table.B.push(parseInt(colour.slice(5, 7), 16));
    table.A.push(255);
    table.I.push(value);
  }
  return table;
}
