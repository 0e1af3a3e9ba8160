// The keys of the page, in one table that the help shows too.

import { byId, make } from "./dom.js";

export const KEYS = [
  ["n", "next case", "nextCase"],
  ["p", "previous case", "previousCase"],
  ["j", "next lesion", "nextLesion"],
  ["k", "previous lesion", "previousLesion"],
  ["a", "accept the lesion, or take it back", "accept"],
  ["Delete", "delete the lesion", "delete"],
  ["1", "lung window", "lung"],
  ["2", "soft-tissue window", "soft"],
  ["3", "bone window", "bone"],
  ["o", "hide or show the mask", "hide"],
  ["c", "compare with the first result", "compare"],
  ["v", "look and select", "look"],
  ["b", "paint", "paint"],
  ["e", "erase", "erase"],
  ["[", "smaller brush", "smaller"],
  ["]", "larger brush", "larger"],
  ["g", "grow from a click", "grow"],
  ["s", "split with two clicks", "split"],
  ["m", "merge with the lesion chosen next", "merge"],
  ["f", "fill holes", "fill"],
  ["Ctrl-Z", "undo", "undo"],
  ["Ctrl-Shift-Z", "redo", "redo"],
  ["Escape", "back to looking", "look"],
  ["?", "this list", "help"],
];
// What NiiVue does with the other keys is left out, but for the arrows, which move a frame in time that CT has not.
const MODIFIERS = ["Control", "Shift", "Alt", "Meta"];

/** Call `actions[name]()` when its key is pressed outside a text field or an open dialog. */
export function listen(actions) {
  const names = new Map(KEYS.map(([key, , name]) => [key, name]));
  names.set("Ctrl-Y", "redo");
  window.addEventListener(
    "keydown",
    (event) => {
      if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
      const name = names.get(spelled(event));
      if (event.target instanceof HTMLCanvasElement && !MODIFIERS.includes(event.key) && event.key !== "Tab") event.stopPropagation();
      if (name === undefined) return;
      event.preventDefault();
      actions[name]();
    },
    { capture: true },
  );
}

/** Fill the table of the help. */
export function listKeys() {
  byId("keys").replaceChildren(
    ...KEYS.map(([key, what]) => make("tr", {}, make("th", { scope: "row" }, make("kbd", {}, key)), make("td", {}, what))),
  );
}

function spelled(event) {
  const key = event.key.length === 1 && (event.ctrlKey || event.metaKey) ? event.key.toUpperCase() : event.key;
  if (event.altKey) return "";
  if (event.ctrlKey || event.metaKey) return event.shiftKey ? `Ctrl-Shift-${key}` : `Ctrl-${key}`;
  return key === "Backspace" ? "Delete" : key;
}

function isTyping(target) {
  return target instanceof HTMLInputElement && target.type !== "range" && target.type !== "checkbox";
}
