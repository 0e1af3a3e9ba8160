// The reading list, and new scans: dropped or chosen, sent, analysed, with progress and a way to stop.

import { ask, upload } from "./api.js";
import { byId, make, say } from "./dom.js";
import { shown } from "./numbers.js";

const POLL_MS = 700;
const STAGES = {
  start: "starting", load: "loading the network", read: "reading the scan", prepare: "finding the lungs",
  network: "looking for tumours", write: "writing the results", waiting: "waiting for the scan before it",
};

/** The cases in reading order; `open(id)` is called for the one that is chosen. */
export class ReadingList {
  constructor(open) {
    this.open = open;
    this.cases = [];
    this.current = null;
    this.stop = null;
    byId("file").addEventListener("change", (event) => this._analyse(event.target.files[0]));
    byId("job-cancel").addEventListener("click", () => this.stop && this.stop());
    this._catchDrops();
  }

  /** Ask for the list again. */
  async refresh() {
    this.cases = (await ask("GET", "/api/cases")).cases;
    this.show(this.current);
  }

  /** Draw the list with this case marked. */
  show(current) {
    this.current = current;
    byId("cases").replaceChildren(...this.cases.map((one) => this._line(one)));
    byId("cases").querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
  }

  /** Open the case that many places further on. */
  go(step) {
    const place = this.cases.findIndex((one) => one.id === this.current);
    const next = this.cases[place + step];
    if (next) {
      this.open(next.id);
    } else {
      say(step > 0 ? "this is the last case" : "this is the first case");
    }
  }

  _line(one) {
    const warnings = one.warnings ? `, ${one.warnings} ${one.warnings === 1 ? "warning" : "warnings"}` : "";
    const lesions = one.lesions === 1 ? "1 lesion" : `${one.lesions} lesions`;
    const facts = `${lesions}, ${shown(one.volume_ml)} mL${warnings}${one.reviewed ? ", reviewed" : ""}`;
    const item = make(
      "li",
      { role: "option", tabindex: "0", "aria-selected": String(one.id === this.current), "data-case": one.id, title: one.name },
      make("b", {}, one.id), make("small", {}, facts),
    );
    item.addEventListener("click", () => this.open(one.id));
    item.addEventListener("keydown", (event) => event.key === "Enter" && this.open(one.id));
    return item;
  }

  _catchDrops() {
    const over = (isOver) => document.body.classList.toggle("is-dropping", isOver);
    window.addEventListener("dragover", (event) => {
      event.preventDefault();
      over(true);
    });
    window.addEventListener("dragleave", (event) => event.relatedTarget === null && over(false));
    window.addEventListener("drop", (event) => {
      event.preventDefault();
      over(false);
      const files = [...event.dataTransfer.files];
      if (files.length > 1) {
        say("one file at a time: a DICOM series as a .zip", true);
      } else if (files.length === 1) {
        this._analyse(files[0]);
      }
    });
  }

  async _analyse(file) {
    if (!file) return;
    byId("file").value = "";
    if (this.stop) {
      say("another scan is on its way; cancel it or wait", true);
      return;
    }
    byId("job").hidden = false;
    try {
      this._progress(`sending ${file.name}`, 0, 0);
      const sending = upload(file, (loaded, total) => this._progress(`sending ${file.name}`, loaded, total));
      this.stop = sending.stop;
      const { job } = await sending.answer;
      await this._watch(job);
    } catch (error) {
      say(error.message, true);
    } finally {
      this.stop = null;
      byId("job").hidden = true;
    }
  }

  async _watch(job) {
    const path = `/api/jobs/${encodeURIComponent(job)}`;
    this.stop = () => ask("DELETE", path).catch((error) => say(error.message, true));
    for (;;) {
      const state = await ask("GET", path);
      if (state.state === "done") {
        await this.refresh();
        say("the new scan is analysed");
        this.open(state.case);
        return;
      }
      if (state.state === "failed") throw new Error(state.error);
      if (state.state === "cancelled") throw new Error("the analysis was cancelled; nothing was kept");
      const stage = state.stage || state.state;
      this._progress(STAGES[stage] ?? stage, state.done, state.total);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  _progress(stage, done, total) {
    byId("job-stage").textContent = stage;
    const bar = byId("job-progress");
    if (total) {
      bar.value = done / total;
    } else {
      bar.removeAttribute("value");
    }
  }
}
