// What makes and fills elements. Text becomes text: nothing here, or elsewhere on this page, reads markup.

export const $ = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.map((child) => (child instanceof Node ? child : document.createTextNode(child))));
  return element;
}

export function svg(tag, attributes = {}, text = undefined) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// Changes the document only where the text is another one, which spares screen readers and layout.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export const count = (number) => number.toLocaleString("en");

export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  return value < 99.95 ? value.toFixed(1) : Math.round(value).toLocaleString("en");
}

export function duration(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h`;
}
