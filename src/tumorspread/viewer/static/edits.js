// Edits of a case, sent one after another. Each names the revision that it was made on. Where somebody else was first,
// the server refuses it and nothing is lost: it is sent again for the new revision if its lesions are still there.

import { Refused, ask } from "./api.js";

const TRIES = 5;
const HISTORY = ["undo", "redo"];

/** The edits of one case. `hooks`: author(), applied(result, isOnTop), refused(message), conflict(). */
export class Edits {
  constructor(id, revision, hooks) {
    this.path = `/api/cases/${encodeURIComponent(id)}`;
    this.revision = revision;
    this.hooks = hooks;
    this.waiting = 0;
    this.last = Promise.resolve();
  }

  get isIdle() {
    return this.waiting === 0;
  }

  /** Queue an edit; `details` is a function, so that it sees what the edits before it did. */
  submit(kind, details = () => ({})) {
    this.waiting += 1;
    this.last = this.last.then(() => this._do(kind, details)).finally(() => undefined);
    return this.last;
  }

  async _do(kind, details) {
    try {
      const author = await this.hooks.author();
      const body = author === null ? null : details();
      if (body === null) {
        this.waiting -= 1;
        this.hooks.refused("");
        return;
      }
      const [result, isOnTop] = await this._send(kind, body, author);
      this.waiting -= 1;
      await this.hooks.applied(result, isOnTop, kind);
    } catch (error) {
      this.waiting = Math.max(0, this.waiting - 1);
      this.hooks.refused(error.message);
    }
  }

  /** Try until nobody is in between; returns the answer, and whether somebody was. */
  async _send(kind, body, author) {
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      try {
        return [await this._post(kind, body, author), attempt > 0];
      } catch (error) {
        if (error.status !== 409 || error.answer.revision === undefined) throw error;
        this.revision = error.answer.revision;
        await this._check(kind, body);
      }
    }
    throw new Refused(409, { error: "others edit this case without a pause; try again" });
  }

  async _post(kind, body, author) {
    const where = HISTORY.includes(kind) ? kind : "edits";
    const what = HISTORY.includes(kind) ? {} : { kind, ...body };
    const result = await ask("POST", `${this.path}/${where}`, { revision: this.revision, author, ...what });
    this.revision = result.revision;
    return result;
  }

  /** Whether an edit still makes sense after somebody else's. */
  async _check(kind, body) {
    if (HISTORY.includes(kind)) {
      throw new Refused(409, { error: `somebody else edited this case meanwhile; their edit is shown now, and nothing was taken back: ${kind} again if you still want to` });
    }
    const findings = await ask("GET", `${this.path}/findings`);
    const there = new Set(findings.lesions.map((lesion) => lesion.id));
    const gone = [body.lesion, ...(body.lesions ?? [])].filter((id) => id !== null && id !== undefined && !there.has(id));
    if (gone.length > 0) {
      throw new Refused(409, { error: `somebody else edited this case meanwhile, and lesion ${gone.join(" and ")} is gone; your ${kind} was not applied` });
    }
  }
}
