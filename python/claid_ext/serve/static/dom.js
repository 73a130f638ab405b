// Making elements. Text is only ever set as text: a file's name can hold anything.

export const find = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// Puts an element over a picture of width x height pixels, where a box [x0, y0, x1, y1] of it is.
export function place(element, [x0, y0, x1, y1], width, height) {
  element.style.left = `${(100 * x0) / width}%`;
  element.style.top = `${(100 * y0) / height}%`;
  element.style.width = `${(100 * (x1 - x0)) / width}%`;
  element.style.height = `${(100 * (y1 - y0)) / height}%`;
}

// A picture that keeps its shape while it loads, as large as `most` (CSS lengths) and the place allow.
export function picture(source, alt, width, height, mostHeight) {
  const image = make("img", { src: source, alt, decoding: "async", draggable: "false" });
  const frame = make("div", { class: "picture" }, image);
  frame.style.aspectRatio = `${width} / ${height}`;
  frame.style.width = `min(100%, calc(${mostHeight} * ${width / height}))`;
  return frame;
}

export const number = (value) => value.toLocaleString("en");
export const count = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;

let saying;
export function say(text) {
  clearTimeout(saying);
  find("say").textContent = "";
  saying = setTimeout(() => { find("say").textContent = text; }, 60);
}
