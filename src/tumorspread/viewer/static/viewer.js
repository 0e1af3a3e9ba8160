// The page: its controls and keys, wired to the case that is open.

import { ask, fetchBytes } from "./api.js";
import { Comparison, FIRST } from "./compare.js";
import { byId, check, say } from "./dom.js";
import { listKeys, listen } from "./keys.js";
import { shown } from "./numbers.js";
import { ReadingList } from "./reading.js";
import { Scene, WINDOWS } from "./scene.js";
import { Session } from "./session.js";

const AUTHOR_KEY = "tumorspread-author";
const look = { window: "lung", layout: "planes", opacity: 0.35, isHidden: false };
const tools = { tool: "look", size: 5, splitAt: [] };

const scene = new Scene(byId("scan"));
const comparison = new Comparison(scene, () => ({ window: WINDOWS[look.window], layout: look.layout, opacity: opacity() }));
const session = new Session(scene, {
  author: askAuthor,
  window: () => WINDOWS[look.window],
  target: () => byId("target").value,
  madeNew: () => { byId("target").value = "selected"; },
  opened,
  changed: takeTool,
  saved: () => reading.refresh(),
});
const reading = new ReadingList(openCase);

scene.on.move = (place) => {
  showPlace(place);
  comparison.follow();
};
scene.on.click = clicked;

function opacity() {
  return look.isHidden ? 0 : look.opacity;
}

function openCase(id) {
  delete document.body.dataset.open;
  delete document.body.dataset.revision;
  reading.show(id);
  comparison.show("", session);
  byId("probability").checked = false;
  setTool("look");
  // Names the case for a reload. The token goes: it is in the cookie, and must not stay in the history.
  history.replaceState(null, "", `/#${encodeURIComponent(id)}`);
  return session.open(id);
}

/** After the first slice: 3-D where it is drawn fast. */
async function opened() {
  comparison.offer(reading.cases, session.id);
  if (!byId("layout").dataset.chosen && !scene.isSoftwareDrawn) setLayout("planes+3d");
  else scene.setLayout(look.layout);
  scene.setOpacity(opacity());
}

function setLayout(layout) {
  look.layout = layout;
  byId("layout").value = layout;
  scene.setLayout(layout);
  comparison.apply();
}

function setWindow(name) {
  look.window = name;
  check("window", name);
  scene.setWindow(WINDOWS[name]);
  comparison.apply();
}

function setOpacity() {
  scene.setOpacity(opacity());
  comparison.apply();
}

function setTool(tool) {
  tools.tool = tool;
  tools.splitAt = [];
  session.isMerging = false;
  check("tool", tool);
  takeTool();
  if (tool === "split") say(session.selected === null ? "select a lesion first" : `click one place in each half of lesion ${session.selected}`);
  if (tool === "grow") say("click a place: what looks like it and touches it is added");
}

function takeTool() {
  const isNew = byId("target").value === "new" || session.selected === null;
  if (isNew && tools.tool === "paint") byId("target").value = "new";
  scene.setTool(tools.tool, isNew && session.findings ? session.nextId() : (session.selected ?? 1), tools.size);
}

function setSize(size) {
  tools.size = Math.min(21, Math.max(1, size));
  byId("size").value = String(tools.size);
  byId("size-shown").textContent = String(tools.size);
  takeTool();
}

function clicked(place) {
  if (tools.tool === "grow") {
    const lesion = byId("target").value === "new" ? null : session.selected;
    session.edit("grow", () => ({ seed: place.voxel, lesion }));
  } else if (tools.tool === "split") {
    splitAt(place);
  } else if (place.id !== 0 && place.id !== session.selected) {
    session.select(place.id, false);
  }
}

function splitAt(place) {
  if (session.selected === null || place.id !== session.selected) {
    say("click inside the selected lesion", true);
    return;
  }
  tools.splitAt.push(place.voxel);
  if (tools.splitAt.length < 2) {
    say("now click a place in the other half");
    return;
  }
  session.editSelected("split", { at: tools.splitAt });
  setTool("look");
}

function showPlace(place) {
  if (place === null) return;
  // Written as the findings write it, LPS, though pictures are RAS.
  const [x, y, z] = place.mm;
  const lesion = place.id ? `, lesion ${place.id}` : "";
  byId("place").textContent =
    `${Math.round(place.hu)} HU${lesion}   |   x ${shown(-x)}, y ${shown(-y)}, z ${shown(z)} mm   |   voxel ${place.voxel.join(", ")}`;
}

function askAuthor() {
  const known = localStorage.getItem(AUTHOR_KEY);
  return known ? Promise.resolve(known) : changeAuthor();
}

/** Ask who edits; null where nobody says. */
function changeAuthor() {
  const dialog = byId("author-dialog");
  byId("author-name").value = localStorage.getItem(AUTHOR_KEY) ?? "";
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const name = byId("author-name").value.trim();
      if (dialog.returnValue === "ok" && name) localStorage.setItem(AUTHOR_KEY, name);
      showAuthor();
      resolve(localStorage.getItem(AUTHOR_KEY));
    }, { once: true });
    dialog.returnValue = "";
    if (!dialog.open) dialog.showModal();
  });
}

function showAuthor() {
  byId("author").textContent = localStorage.getItem(AUTHOR_KEY) ?? "set your name";
}

/** Fetch a file and hand it to the browser; a refusal, such as DICOM of a NIfTI scan, is said. */
async function download(name) {
  byId("export").open = false;
  try {
    const bytes = await fetchBytes(`${session.path}/export/${name}`);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([bytes]));
    link.download = `${session.id}-${name}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    say(`exported ${link.download}`);
  } catch (error) {
    say(error.message, true);
  }
}

async function setReviewed(isReviewed) {
  try {
    const author = await askAuthor();
    if (author !== null) await ask("PUT", `${session.path}/reviewed`, { reviewed: isReviewed, author });
    await reading.refresh();
  } catch (error) {
    say(error.message, true);
  }
}

async function showProbability(isShown) {
  try {
    await scene.setProbability(isShown ? await fetchBytes(`${session.path}/probability.nii.gz`) : null);
  } catch (error) {
    say(error.message, true);
  }
}

const lesionActions = {
  accept: () => session.accept(),
  fill: () => session.editSelected("fill"),
  neck: () => session.editSelected("split", { at: null }),
  merge: () => session.startMerge(),
  delete: () => session.editSelected("delete"),
};

function wire() {
  byId("layout").addEventListener("change", (event) => {
    event.target.dataset.chosen = "yes";
    setLayout(event.target.value);
  });
  for (const button of document.querySelectorAll("[data-window]")) button.addEventListener("click", () => setWindow(button.dataset.window));
  for (const button of document.querySelectorAll("[data-tool]")) button.addEventListener("click", () => setTool(button.dataset.tool));
  for (const button of document.querySelectorAll("[data-export]")) button.addEventListener("click", () => download(button.dataset.export));
  for (const button of document.querySelectorAll("[data-action]")) button.addEventListener("click", lesionActions[button.dataset.action]);
  byId("opacity").addEventListener("input", (event) => {
    look.opacity = Number(event.target.value);
    look.isHidden = false;
    setOpacity();
  });
  byId("size").addEventListener("input", (event) => setSize(Number(event.target.value)));
  byId("target").addEventListener("change", takeTool);
  byId("undo").addEventListener("click", () => session.edit("undo"));
  byId("redo").addEventListener("click", () => session.edit("redo"));
  byId("compare").addEventListener("change", (event) => comparison.show(event.target.value, session));
  byId("probability").addEventListener("change", (event) => showProbability(event.target.checked));
  byId("reviewed").addEventListener("change", (event) => setReviewed(event.target.checked));
  byId("author").addEventListener("click", changeAuthor);
  byId("help").addEventListener("click", () => byId("keys-dialog").showModal());
}

function listenToKeys() {
  const windows = Object.fromEntries(Object.keys(WINDOWS).map((name) => [name, () => setWindow(name)]));
  const picks = Object.fromEntries(["look", "paint", "erase", "grow", "split"].map((tool) => [tool, () => setTool(tool)]));
  listen({
    ...windows,
    ...picks,
    ...lesionActions,
    nextCase: () => reading.go(1),
    previousCase: () => reading.go(-1),
    nextLesion: () => session.go(1),
    previousLesion: () => session.go(-1),
    hide: () => {
      look.isHidden = !look.isHidden;
      setOpacity();
    },
    compare: () => comparison.show(comparison.what === "" ? FIRST : "", session),
    smaller: () => setSize(tools.size - 2),
    larger: () => setSize(tools.size + 2),
    undo: () => session.edit("undo"),
    redo: () => session.edit("redo"),
    help: () => byId("keys-dialog").showModal(),
  });
  listKeys();
}

async function start() {
  const wanted = decodeURIComponent(location.hash.slice(1));
  wire();
  listenToKeys();
  showAuthor();
  setSize(tools.size);
  try {
    await reading.refresh();
    if (reading.cases.length > 0) {
      const [first] = reading.cases;
      await openCase((reading.cases.find((one) => one.id === wanted) ?? first).id);
    } else {
      byId("loading").hidden = true;
      say("no case yet: drop a scan to analyse it");
    }
  } catch (error) {
    byId("loading").hidden = true;
    say(error.message, true);
  }
}

start();
