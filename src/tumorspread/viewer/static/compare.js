// Two pictures side by side with one crosshair: the case as it is, and its first result or another case.

import { fetchBytes } from "./api.js";
import { byId, make, say } from "./dom.js";
import { Scene } from "./scene.js";
import { readLabels } from "./voxels.js";

export const FIRST = "first result";

/** The second picture. It is made when it is first asked for, since it costs as much memory as the first. */
export class Comparison {
  constructor(scene, look) {
    this.scene = scene;
    this.look = look;
    this.other = null;
    this.what = "";
  }

  /** Offer the first result and the other cases. */
  offer(cases, current) {
    const choices = cases.filter((one) => one.id !== current).map((one) => make("option", { value: `case:${one.id}` }, one.id));
    byId("compare").replaceChildren(make("option", { value: "" }, "off"), make("option", { value: FIRST }, "first result"), ...choices);
    byId("compare").value = this.what;
  }

  /** Show beside: "" for nothing, the first result, or `case:` and an id. */
  async show(what, session) {
    this.what = what;
    byId("compare").value = what;
    byId("other-view").hidden = what === "";
    byId("this-caption").hidden = what === "";
    if (what === "") return;
    const id = what === FIRST ? session.id : what.slice("case:".length);
    const path = `/api/cases/${encodeURIComponent(id)}`;
    byId("other-caption").textContent = what === FIRST ? "first result" : id;
    byId("this-caption").textContent = what === FIRST ? "now" : session.id;
    try {
      if (this.other === null) {
        this.other = new Scene(byId("other"), { move: () => this._lead(this.other, this.scene) });
      }
      const [scan, lesions] = await Promise.all([
        what === FIRST ? session.scanBytes : fetchBytes(`${path}/scan.nii.gz`),
        fetchBytes(`${path}/${what === FIRST ? "first-lesions" : "lesions"}.nii.gz`),
      ]);
      if (what !== this.what) return;
      await this.other.showScan(scan, this.look().window);
      this.other.setLabels(await readLabels(lesions));
      this.apply();
      this.follow();
      document.body.dataset.compared = what;
    } catch (error) {
      say(error.message, true);
    }
  }

  /** Give the second picture window, layout and opacity of the first. */
  apply() {
    if (this.other === null || this.what === "") return;
    const { window, layout, opacity } = this.look();
    this.other.setWindow(window);
    this.other.setLayout(layout);
    this.other.setOpacity(opacity);
  }

  /** The first picture's crosshair moved. */
  follow() {
    if (this.other !== null && this.what !== "") this._lead(this.scene, this.other);
  }

  _lead(leader, follower) {
    if (this.isLeading) return;
    this.isLeading = true;
    follower.follow(leader);
    this.isLeading = false;
  }
}
