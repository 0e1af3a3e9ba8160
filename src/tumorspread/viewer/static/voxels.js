// Label maps as the server sends them, and the way between their voxels and those of NiiVue's drawing.
//
// The server counts voxels in the order of the file (x fastest). NiiVue turns every scan to right, anterior, superior
// (RAS) and keeps its drawing so. Runs that are sent are in the file's order.

const TYPES = { 2: Uint8Array, 4: Int16Array, 8: Int32Array, 256: Int8Array, 512: Uint16Array, 768: Uint32Array };

/** The labels of a NIfTI file: its dimensions (x, y, z) and the id of the lesion at each voxel, 0 for none. */
export async function readLabels(bytes) {
  const raw = bytes[0] === 0x1f && bytes[1] === 0x8b ? await inflate(bytes) : bytes.slice().buffer;
  const header = new DataView(raw);
  const little = header.getInt32(0, true) === 348;
  if (!little && header.getInt32(0, false) !== 348) {
    throw new Error("the lesions of this case are not a NIfTI file");
  }
  const dims = [1, 2, 3].map((axis) => header.getInt16(40 + 2 * axis, little));
  const Type = TYPES[header.getInt16(70, little)];
  if (Type === undefined || !little) {
    throw new Error("the lesions of this case are of a number type that this page does not read");
  }
  const start = header.getFloat32(108, little);
  const count = dims[0] * dims[1] * dims[2];
  return { dims, ids: new Type(raw, start, count) };
}

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

/** Where voxels of the drawing (RAS) lie in the file, from NiiVue's description of the scan. */
export class Grid {
  constructor(image) {
    this.dims = image.dimsRAS.slice(1, 4);
    this.step = Array.from(image.img2RASstep);
    this.offset = image.img2RASstart.reduce((sum, part) => sum + part, 0);
    this.fileDims = image.hdr.dims.slice(1, 4);
    const [nx, ny] = this.dims;
    this.isSame = this.offset === 0 && this.step[0] === 1 && this.step[1] === nx && this.step[2] === nx * ny;
  }

  get count() {
    return this.dims[0] * this.dims[1] * this.dims[2];
  }

  /** Index in the file of the drawing's voxel (x, y, z). */
  fileIndex(x, y, z) {
    return this.offset + x * this.step[0] + y * this.step[1] + z * this.step[2];
  }

  /** (x, y, z) of the file of a voxel (x, y, z) of the drawing. */
  toFile([x, y, z]) {
    const index = this.fileIndex(x, y, z);
    const [nx, ny] = this.fileDims;
    return [index % nx, Math.floor(index / nx) % ny, Math.floor(index / (nx * ny))];
  }

  /** A drawing with `value(id)` at every voxel. */
  toDrawing(ids, value) {
    const drawing = new Uint8Array(this.count);
    const [nx, ny, nz] = this.dims;
    let index = 0;
    for (let z = 0; z < nz; z += 1) {
      for (let y = 0; y < ny; y += 1) {
        let place = this.fileIndex(0, y, z);
        for (let x = 0; x < nx; x += 1) {
          const id = ids[place];
          // Nearly all voxels are 0 already.
          if (id !== 0) drawing[index] = value(id);
          index += 1;
          place += this.step[0];
        }
      }
    }
    return drawing;
  }

  /** Indices in the file, sorted, of the voxels where two drawings differ. */
  differing(before, after) {
    const [nx, ny] = this.dims;
    const places = [];
    for (let index = 0; index < after.length; index += 1) {
      if (before[index] !== after[index]) {
        const x = index % nx;
        const row = (index - x) / nx;
        places.push(this.fileIndex(x, row % ny, Math.floor(row / ny)));
      }
    }
    return this.isSame ? places : places.sort((a, b) => a - b);
  }
}

/** Runs [start, length] of sorted indices. */
export function runsOf(places) {
  const runs = [];
  for (const place of places) {
    const last = runs[runs.length - 1];
    if (last !== undefined && last[0] + last[1] === place) {
      last[1] += 1;
    } else {
      runs.push([place, 1]);
    }
  }
  return runs;
}
