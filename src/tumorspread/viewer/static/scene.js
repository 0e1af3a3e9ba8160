// The pictures: NiiVue with a scan, the lesions as its drawing, and the tools that touch voxels.

import { DRAG_MODE, MULTIPLANAR_TYPE, Niivue, NVImage, SHOW_RENDER, SLICE_TYPE } from "./niivue.js";
import { drawingColours, valueOf } from "./colours.js";
import { Grid, runsOf } from "./voxels.js";

// Level and width of the report (report/views.py), and a bone window of 1800 HU around 400.
export const WINDOWS = { lung: [-1350, 150], soft: [-160, 240], bone: [-500, 1300] };
const SLICES = {
  axial: SLICE_TYPE.AXIAL, coronal: SLICE_TYPE.CORONAL, sagittal: SLICE_TYPE.SAGITTAL, "3d": SLICE_TYPE.RENDER,
};
const RIM_OPACITY = 0.9;
// Less movement than this between button down and up is a click.
const CLICK_PIXELS = 4;
const OPTIONS = {
  isRadiologicalConvention: true,
  sagittalNoseLeft: true,
  showAllOrientationMarkers: true,
  dragAndDropEnabled: false,
  show3Dcrosshair: true,
  backColor: [0, 0, 0, 1],
  crosshairColor: [0.8, 0.8, 0.8, 0.45],
  clipPlaneColor: [0, 0, 0, 0],
  crosshairWidth: 0.7,
  crosshairWidthUnit: "mm",
  fontColor: [0.3, 0.65, 1, 1],
  multiplanarLayout: MULTIPLANAR_TYPE.AUTO,
  mouseEventConfig: {
    leftButton: { primary: DRAG_MODE.crosshair }, rightButton: DRAG_MODE.pan, centerButton: DRAG_MODE.slicer3D,
  },
  multiplanarShowRender: SHOW_RENDER.NEVER,
  multiplanarPadPixels: 3,
  maxDrawUndoBitmaps: 2,
  loadingText: "",
  logLevel: "silent",
  // The page has its own keys.
  clipPlaneHotKey: "",
  cycleClipPlaneHotKey: "",
  viewModeHotKey: "",
};

/**
 * NiiVue without the gradients of the scan, which only a shaded 3-D view needs. They took most of the time to the first
 * slice where a processor draws (14 s of 16 s at 256 x 256 x 120), and again at each change of the window.
 */
class Pictures extends Niivue {
  rgbaTex(texture, unit, dims, isInit) {
    if (unit === this.gl.TEXTURE8 && texture === null && dims[1] > 2) {
      // The gradients start with this texture. An empty scissor lets their loops draw nothing.
      this.gl.enable(this.gl.SCISSOR_TEST);
      this.gl.scissor(0, 0, 0, 0);
    }
    return super.rgbaTex(texture, unit, dims, isInit);
  }

  refreshLayers(volume, layer) {
    super.refreshLayers(volume, layer);
    this.gl.disable(this.gl.SCISSOR_TEST);
  }

  /** Wait until what was asked of the GPU is drawn: reading a pixel does, `finish` does not in Chromium. */
  settle() {
    this.gl.readPixels(0, 0, 1, 1, this.gl.RGBA, this.gl.UNSIGNED_BYTE, new Uint8Array(4));
  }
}

/** One canvas. `on` is told: move(place), click(place), stroke({value, runs}); see `_place` for a place. */
export class Scene {
  constructor(canvas, on = {}) {
    this.canvas = canvas;
    this.on = { move: () => {}, click: () => {}, stroke: () => {}, penUp: () => {}, ...on };
    this.nv = new Pictures(OPTIONS);
    this.nv.drawOpacity = 0.35;
    this.nv.drawRimOpacity = RIM_OPACITY;
    this.grid = null;
    this.ids = null;
    this.isPenDown = false;
    this.tool = "look";
    this.attached = this._attach();
  }

  async _attach() {
    await this.nv.attachToCanvas(this.canvas);
    this.nv.setDrawColormap(drawingColours());
    this.nv.onLocationChange = () => this.on.move(this._place());
    this.nv.onDrawingChanged = (action) => action === "draw" && this._endStroke();
    this.canvas.addEventListener("mousedown", (event) => this._press(event), { capture: true });
    // NiiVue zooms with the wheel while its mode is to pan, and turns slices else.
    const chooseWheel = (event) => { this.nv.opts.dragMode = event.ctrlKey ? DRAG_MODE.pan : DRAG_MODE.none; };
    this.canvas.addEventListener("wheel", chooseWheel, { capture: true });
    // Its double click would set a window of its own.
    this.canvas.addEventListener("dblclick", (event) => event.stopImmediatePropagation(), { capture: true });
    this.canvas.addEventListener("mouseup", (event) => this._release(event));
  }

  /** Whether pictures are drawn by the processor: then 3-D is slow and is not shown unasked. */
  get isSoftwareDrawn() {
    const names = this.nv.gl.getExtension("WEBGL_debug_renderer_info");
    const name = names ? this.nv.gl.getParameter(names.UNMASKED_RENDERER_WEBGL) : "";
    return /swiftshader|llvmpipe|software/i.test(name);
  }

  /** Show a scan (bytes of a NIfTI file) without lesions, in the first slices that can be had. */
  async showScan(bytes, window = WINDOWS.lung) {
    await this.attached;
    this.grid = null;
    this.ids = null;
    this.nv.closeDrawing();
    this.nv.setDefaults({ ...OPTIONS, sliceType: this.nv.opts.sliceType, multiplanarShowRender: SHOW_RENDER.NEVER });
    for (const volume of [...this.nv.volumes]) this.nv.removeVolume(volume);
    const image = await NVImage.loadFromUrl({
      url: bytes.buffer, name: "scan.nii.gz", colormap: "gray", cal_min: window[0], cal_max: window[1],
    });
    this.nv.addVolume(image);
    this.grid = new Grid(image);
    this.nv.settle();
  }

  /** Show lesions: ids in the file's order, as `readLabels` gives them. */
  setLabels({ dims, ids }) {
    if (dims.some((size, axis) => size !== this.grid.fileDims[axis])) {
      throw new Error("the lesions are not on the grid of the scan");
    }
    this.ids = ids;
    this.shown = this.grid.toDrawing(ids, valueOf);
    this._draw();
  }

  /** Change some voxels: runs [start, length, id] in the file's order. */
  changeLabels(delta) {
    if (!(this.ids instanceof Uint16Array)) this.ids = Uint16Array.from(this.ids);
    for (const [start, length, id] of delta) this.ids.fill(id, start, start + length);
    this.shown = this.grid.toDrawing(this.ids, valueOf);
    this._draw();
  }

  _draw() {
    if (this.nv.drawBitmap === null) this.nv.createEmptyDrawing();
    this.nv.drawBitmap = this.shown.slice();
    this.nv.refreshDrawing(true);
  }

  setWindow([low, high]) {
    const scan = this.nv.volumes[0];
    if (scan === undefined || (scan.cal_min === low && scan.cal_max === high)) return;
    scan.cal_min = low;
    scan.cal_max = high;
    this.nv.updateGLVolume();
  }

  setOpacity(share) {
    this.nv.drawRimOpacity = share === 0 ? 0 : RIM_OPACITY;
    this.nv.setDrawOpacity(share);
  }

  setLayout(layout) {
    const hasRender = layout === "planes+3d";
    if (hasRender || layout === "3d") this._cutFront();
    this.nv.opts.multiplanarShowRender = hasRender ? SHOW_RENDER.ALWAYS : SHOW_RENDER.NEVER;
    this.nv.setSliceType(SLICES[layout] ?? SLICE_TYPE.MULTIPLANAR);
  }

  /** Look at the patient from the front, the front half cut away: lesions stand in open lungs. */
  _cutFront() {
    if (this.isCut) return;
    this.isCut = true;
    this.nv.scene.renderAzimuth = 200;
    this.nv.scene.renderElevation = 15;
    this.nv.setClipPlane([0, 180, 0]);
  }

  /** Lay a map of probabilities (bytes of a NIfTI file, 0 to 1) over the scan, or take it away with null. */
  async setProbability(bytes) {
    if (this.nv.volumes.length > 1) this.nv.removeVolume(this.nv.volumes[1]);
    if (bytes === null) return;
    const image = await NVImage.loadFromUrl({
      url: bytes.buffer, name: "probability.nii.gz", colormap: "viridis", opacity: 0.6,
      // Whole percent; below ten the scan alone is seen.
      cal_min: 10, cal_max: 100,
    });
    this.nv.addVolume(image);
  }

  /** Put the crosshair at a place: shares (0 to 1) of the drawing's axes. */
  jump(fraction) {
    this.nv.scene.crosshairPos = Float32Array.from(fraction);
    this.nv.createOnLocationChange();
    this.nv.drawScene();
  }

  /** Follow another scene: the same point of the world, the same zoom. */
  follow(other) {
    if (this.grid === null) return;
    this.nv.scene.crosshairPos = this.nv.mm2frac(other.nv.frac2mm(other.nv.scene.crosshairPos));
    this.nv.scene.pan2Dxyzmm = Float32Array.from(other.nv.scene.pan2Dxyzmm);
    this.nv.drawScene();
  }

  /** The voxel of a lesion that is nearest to its centre, as shares of the drawing's axes; null where it has none. */
  centreOf(id) {
    const value = valueOf(id);
    const [nx, ny] = this.grid.dims;
    const voxels = [];
    for (let index = this.shown.indexOf(value); index >= 0; index = this.shown.indexOf(value, index + 1)) {
      voxels.push([index % nx, Math.floor(index / nx) % ny, Math.floor(index / (nx * ny))]);
    }
    if (voxels.length === 0) return null;
    const mean = [0, 1, 2].map((axis) => voxels.reduce((sum, voxel) => sum + voxel[axis], 0) / voxels.length);
    const away = (voxel) => Math.hypot(...voxel.map((index, axis) => index - mean[axis]));
    const nearest = voxels.reduce((best, voxel) => (away(voxel) < away(best) ? voxel : best));
    return nearest.map((index, axis) => (index + 0.5) / this.grid.dims[axis]);
  }

  /** Take a tool: look, paint (the lesion of `id`), erase, grow or split. */
  setTool(tool, id = 1, size = 1) {
    this.tool = tool;
    const isPen = tool === "paint" || tool === "erase";
    if (isPen && this.grid !== null && this.nv.drawBitmap === null) this._draw();
    // NiiVue's own switch would drop the drawing's state; all that a pen needs are these.
    this.nv.opts.drawingEnabled = isPen;
    this.nv.opts.penValue = tool === "erase" ? 0 : valueOf(id);
    this.nv.opts.penSize = size;
    this.canvas.style.cursor = tool === "look" ? "default" : "crosshair";
  }

  _press(event) {
    this.pressedAt = [event.clientX, event.clientY];
    this.isPenDown = this.nv.opts.drawingEnabled;
  }

  _release(event) {
    const [x, y] = this.pressedAt ?? [NaN, NaN];
    this.isPenDown = false;
    const isClick = Math.hypot(event.clientX - x, event.clientY - y) < CLICK_PIXELS;
    if (isClick && event.button === 0 && !this.nv.opts.drawingEnabled && this.grid) this.on.click(this._place());
    this.on.penUp();
  }

  _endStroke() {
    this.isPenDown = false;
    const places = this.grid.differing(this.shown, this.nv.drawBitmap);
    this.shown = this.nv.drawBitmap.slice();
    if (places.length > 0) this.on.stroke({ value: this.nv.opts.penValue, runs: runsOf(places) });
  }

  /** Where the crosshair is: voxel of the file, mm (RAS), the scan's value, the lesion's id. */
  _place() {
    if (this.grid === null) return null;
    const vox = Array.from(this.nv.frac2vox(this.nv.scene.crosshairPos));
    const inside = vox.map((index, axis) => Math.min(Math.max(index, 0), this.grid.dims[axis] - 1));
    const index = this.grid.fileIndex(...inside);
    return {
      voxel: this.grid.toFile(inside),
      mm: Array.from(this.nv.frac2mm(this.nv.scene.crosshairPos)).slice(0, 3),
      hu: this.nv.volumes[0].getValue(...inside),
      id: this.ids ? this.ids[index] : 0,
    };
  }
}
