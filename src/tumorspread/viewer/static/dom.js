// Elements of the page: found by id, and made.

/** The element with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** A new element; attributes that are false or null are left out, children may be texts. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** Say something in the line at the foot of the page. */
export function say(text, isRefusal = false) {
  const line = byId("message");
  line.textContent = text;
  line.title = text;
  line.classList.toggle("is-refusal", isRefusal);
}

/** Mark one of the buttons of a group as chosen, by the value of a data attribute. */
export function check(attribute, value) {
  for (const button of document.querySelectorAll(`[data-${attribute}]`)) {
    button.setAttribute("aria-checked", String(button.dataset[attribute] === value));
  }
}
