// @ts-check
/** Keys that do what buttons and sliders do. */

import { element, make } from "./controls.js";

/** What a key does; it returns a sentence on that, or none. @typedef {() => string} Action */
/** @typedef {{shown: string, what: string, actions: Record<string, Action>}} Row one line of the list of keys */

const TYPING = "select, textarea, input:not([type=range], [type=radio], [type=checkbox])";

/**
 * Obey keys while the page's checkbox says so, and list them.
 * @param {Row[]} rows
 * @param {(sentence: string) => void} note
 * @param {AbortSignal} signal ends it
 */
export function listenForKeys(rows, note, signal) {
  const list = element("keys", HTMLElement);
  for (const { shown, what } of rows) {
    const keys = shown.split(" ").map((key) => make("kbd", {}, key));
    list.append(make("div", {}, make("dt", {}, ...keys), make("dd", {}, what)));
  }
  const actions = new Map(rows.flatMap((row) => Object.entries(row.actions)));
  addEventListener(
    "keydown",
    (event) => {
      const action = actions.get(event.key);
      if (action === undefined || isForSomethingElse(event)) return;
      event.preventDefault();
      note(action());
    },
    { signal },
  );
}

/** Whether a key is meant for what has the focus, or for the browser. @param {KeyboardEvent} event */
function isForSomethingElse(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  if (!element("keys-on", HTMLInputElement).checked || target.closest(TYPING)) return true;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return true;
  if (event.key.startsWith("Arrow")) return target.closest("input, pre") !== null;
  return event.key === " " && target.closest("button, a, summary, input") !== null;
}
