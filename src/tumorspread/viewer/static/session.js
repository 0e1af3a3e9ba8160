// The case that is open: its scan, its lesions and findings as of the last revision, and what people do to them.

import { ask, fetchBytes } from "./api.js";
import { byId, say } from "./dom.js";
import { Edits } from "./edits.js";
import { showLesions, showMeasures } from "./lesions.js";
import { showFindings, showHistory, showWarnings } from "./panels.js";
import { readLabels } from "./voxels.js";

const POLL_MS = 5000;
const DONE = {
  paint: "painted", erase: "erased", fill: "holes filled", delete: "lesion deleted", accept: "saved", split: "split",
  merge: "merged", grow: "grown", undo: "undone", redo: "redone",
};

/** `on`: author() gives the name of who edits, or null; opened(), changed() and saved() are called after each. */
export class Session {
  constructor(scene, on) {
    this.scene = scene;
    this.on = on;
    this.id = null;
    this.findings = null;
    this.selected = null;
    this.accepted = new Set();
    this.isMerging = false;
    this.isStale = false;
    scene.on.stroke = (stroke) => this._stroke(stroke);
    scene.on.penUp = () => this._refreshIfStale();
    setInterval(() => this._poll(), POLL_MS);
  }

  get path() {
    return `/api/cases/${encodeURIComponent(this.id)}`;
  }

  /** Open a case: the scan first, so that there is something to see, then its lesions. */
  async open(id) {
    this.id = id;
    this.edits = null;
    this.selected = null;
    this._loading("Loading the scan", 0, 0);
    try {
      const scan = fetchBytes(`${this.path}/scan.nii.gz`, (loaded, total) => this._loading("Loading the scan", loaded, total));
      const [info, findings] = await Promise.all([ask("GET", this.path), ask("GET", `${this.path}/findings`)]);
      if (id !== this.id) return;
      this.info = info;
      this.edits = this._editsOf(id, info.revision);
      this._take(findings);
      this.scanBytes = await scan;
      if (id !== this.id) return;
      await this.scene.showScan(this.scanBytes, this.on.window());
      byId("loading").hidden = true;
      document.body.dataset.firstSliceSeconds ??= (performance.now() / 1000).toFixed(2);
      await this._loadLabels();
      if (id !== this.id) return;
      if (findings.lesions.length > 0) this.select(findings.lesions[0].id);
      await Promise.all([this._showInfo(), this.on.opened()]);
      document.body.dataset.open = id;
    } catch (error) {
      if (id !== this.id) return;
      byId("loading").hidden = true;
      say(error.message, true);
    }
  }

  /** Select a lesion, and go there. */
  select(id, isJump = true) {
    if (this.isMerging && id !== this.selected) {
      this.isMerging = false;
      const lesions = [this.selected, id];
      this.edit("merge", () => ({ lesions }));
      return;
    }
    this.selected = id;
    this._show();
    const centre = isJump && this.scene.ids ? this.scene.centreOf(id) : null;
    if (centre) this.scene.jump(centre);
    this.on.changed();
  }

  /** Select the lesion that many lines further down. */
  go(step) {
    const ids = this.findings ? this.findings.lesions.map((lesion) => lesion.id) : [];
    const place = ids.indexOf(this.selected);
    const next = ids[place < 0 ? 0 : place + step];
    if (next !== undefined) this.select(next);
  }

  /** Send an edit; `details()` is asked when its turn comes. */
  edit(kind, details) {
    if (this.edits) this.edits.submit(kind, details);
  }

  /** An edit of the selected lesion. */
  editSelected(kind, details = {}) {
    if (this.selected === null) {
      say("select a lesion first", true);
      return;
    }
    const lesion = this.selected;
    this.edit(kind, () => ({ lesion, ...details }));
  }

  accept() {
    if (this.selected !== null) this.editSelected("accept", { accepted: !this.accepted.has(this.selected) });
  }

  /** Choose the lesion that the next selected one is merged with. */
  startMerge() {
    if (this.selected === null) return;
    this.isMerging = true;
    say(`choose the lesion to merge with lesion ${this.selected}; Escape: none`);
  }

  /** The id that a new lesion will probably get, for the colour of the brush. */
  nextId() {
    return Math.max(0, ...this.findings.lesions.map((lesion) => lesion.id)) + 1;
  }

  _editsOf(id, revision) {
    return new Edits(id, revision, {
      author: this.on.author,
      applied: (result, isOnTop, kind) => (id === this.id ? this._applied(result, isOnTop, kind) : undefined),
      refused: (message) => (id === this.id ? this._refused(message) : undefined),
    });
  }

  _stroke({ value, runs }) {
    if (value === 0) {
      this.edit("erase", () => ({ runs }));
    } else {
      const isNew = this.on.target() === "new" || this.selected === null;
      this.edit("paint", () => ({ lesion: isNew && this.on.target() === "new" ? null : this.selected, runs }));
    }
  }

  async _applied(result, isOnTop, kind) {
    const before = new Set(this.findings.lesions.map((lesion) => lesion.id));
    const made = result.findings.lesions.map((lesion) => lesion.id).filter((id) => !before.has(id));
    if (made.length === 1 && (kind === "paint" || kind === "grow") && this.on.target() === "new") {
      this.selected = made[0];
      this.on.madeNew();
    }
    this._take(result.findings);
    if (result.delta && !isOnTop && !this.isStale && this.edits.isIdle && !this.scene.isPenDown) {
      this.scene.changeLabels(result.delta);
    } else {
      this.isStale = true;
      await this._refreshIfStale();
    }
    say(isOnTop ? "somebody else edited meanwhile: yours was applied on top of theirs" : DONE[kind]);
    await this._showInfo();
    document.body.dataset.revision = String(result.revision);
    this.on.changed();
    await this.on.saved();
  }

  /** Show what the server has, so that a refused stroke does not stay on the picture. */
  async _refused(message) {
    if (message) say(message, true);
    this.isStale = true;
    await this._reload();
  }

  async _reload() {
    const [info, findings] = await Promise.all([ask("GET", this.path), ask("GET", `${this.path}/findings`)]);
    this.edits.revision = info.revision;
    this._take(findings);
    this.isStale = true;
    await this._refreshIfStale();
    await this._showInfo();
    document.body.dataset.revision = String(info.revision);
  }

  async _refreshIfStale() {
    if (this.isStale && this.edits && this.edits.isIdle && !this.scene.isPenDown) {
      this.isStale = false;
      await this._loadLabels();
    }
  }

  async _loadLabels() {
    const id = this.id;
    const labels = await readLabels(await fetchBytes(`${this.path}/lesions.nii.gz`));
    if (id !== this.id) return;
    if (this.edits.isIdle && !this.scene.isPenDown) {
      this.scene.setLabels(labels);
    } else {
      this.isStale = true;
    }
  }

  /** Other pages, or programs, may edit the same case. */
  async _poll() {
    if (!this.edits || !this.edits.isIdle || this.scene.isPenDown || document.hidden || !this.scene.ids) return;
    try {
      const info = await ask("GET", this.path);
      if (info.id !== this.id || !this.edits.isIdle || info.revision === this.edits.revision) return;
      await this._reload();
      say("edited elsewhere: the last state is shown");
    } catch (error) {
      say(error.message, true);
    }
  }

  _take(findings) {
    this.findings = findings;
    if (!findings.lesions.some((lesion) => lesion.id === this.selected)) this.selected = null;
    this._show();
  }

  _show() {
    showLesions(this.findings, this.selected, this.accepted, (id) => this.select(id));
    showMeasures(this.findings.lesions.find((lesion) => lesion.id === this.selected), this.accepted.has(this.selected));
    showFindings(this.findings);
    showWarnings(this.findings.warnings);
  }

  async _showInfo() {
    const [info, { edits }] = await Promise.all([ask("GET", this.path), ask("GET", `${this.path}/edits`)]);
    if (info.id !== this.id) return;
    this.info = info;
    this.accepted = new Set(info.accepted);
    this._show();
    byId("undo").disabled = !info.can_undo;
    byId("redo").disabled = !info.can_redo;
    byId("reviewed").disabled = false;
    byId("reviewed").checked = info.reviewed;
    byId("case-name").textContent = info.id;
    byId("case-name").title = info.name;
    byId("probability-label").hidden = !info.has_probability;
    showHistory(edits);
  }

  _loading(text, loaded, total) {
    byId("loading").hidden = false;
    byId("loading-text").textContent = text;
    const bar = byId("loading-progress");
    if (total) {
      bar.value = loaded / total;
    } else {
      bar.removeAttribute("value");
    }
  }
}
