type Child = Node | string | undefined;

/** An element with attributes (`true`: without a value) and children. Text is text, never markup. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string | boolean | undefined>> = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (typeof value === "string") element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

/** A button that does something. */
export function button(
  text: string,
  attributes: Readonly<Record<string, string>>,
  onClick: () => void,
): HTMLButtonElement {
  const made = el("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", onClick);
  return made;
}

/** The element of the page with that id. */
export function byId<E extends HTMLElement>(id: string, type: new () => E): E {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`the page has no ${id}`);
  return found;
}

/**
 * Puts new content in. What is the same stays: a click may have begun on it. The keyboard's focus goes back to the element with the same
 * `data-key`.
 */
export function replaceContent(parent: HTMLElement, ...children: readonly Child[]): void {
  const focused = parent.contains(document.activeElement)
    ? document.activeElement?.getAttribute("data-key")
    : undefined;
  patch(parent, [...el("div", {}, ...children).childNodes]);
  if (typeof focused !== "string") return;
  parent.querySelector<HTMLElement>(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

function patch(parent: Node, wanted: readonly ChildNode[]): void {
  for (const [i, next] of wanted.entries()) {
    const old = parent.childNodes[i];
    if (old === undefined) parent.appendChild(next);
    else if (old.isEqualNode(next)) continue;
    else if (isOnlyChanged(old, next)) patch(old, [...next.childNodes]);
    else old.replaceWith(next);
  }
  for (const old of [...parent.childNodes].slice(wanted.length)) old.remove();
}

/** Whether only what is within it differs. A button that is another one does something else. */
function isOnlyChanged(old: Node, next: Node): boolean {
  return old instanceof Element && old.nodeName !== "BUTTON" && old.cloneNode(false).isEqualNode(next.cloneNode(false));
}
