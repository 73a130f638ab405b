// The query's photo: boxes drawn by mouse, touch and keyboard, and suggested regions to click.

import { make, picture, place, say } from "./dom.js";

const CLICK = 6; // CSS pixels: a shorter stroke is a click
const LEAST = 4; // pixels of the photo: no side of a box is shorter
const STEP = 0.02; // of the photo's longer side: what an arrow key moves
const CORNERS = { nw: [0, 1], ne: [2, 1], sw: [0, 3], se: [2, 3] }; // which sides each one moves
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Stage {
  // `changed(boxes, settled)` is called with each change; settled once it is not one of many.
  constructor(root, changed) {
    this.root = root;
    this.changed = changed;
    this.boxes = [];
    this.active = -1;
    this.regions = [];
    this.level = "all";
  }

  show(source, alt, width, height) {
    [this.width, this.height] = [width, height];
    [this.boxes, this.regions, this.active] = [[], [], -1];
    this.layer = picture(source, alt, width, height, "62vh");
    this.suggestions = make("div", {
      role: "group", "aria-label": "Suggested regions: arrow keys go from one to the next, Enter takes one",
      onkeydown: (event) => this.walk(event),
    });
    this.drawn = make("div");
    this.layer.append(this.suggestions, this.drawn);
    this.layer.addEventListener("pointerdown", (event) => this.down(event));
    this.layer.addEventListener("pointermove", (event) => this.move(event));
    this.layer.addEventListener("pointerup", (event) => this.up(event));
    this.layer.addEventListener("pointercancel", () => this.cancel());
    this.layer.addEventListener("pointerleave", () => this.heat(null));
    this.root.replaceChildren(this.layer);
  }

  fail(message) {
    this.layer = null;
    this.root.replaceChildren(make("p", { class: "message" }, message));
  }

  setBoxes(boxes) {
    this.boxes = boxes.map((box) => this.clipped(box));
    this.active = Math.min(this.active, boxes.length - 1);
    this.draw();
  }

  add() {
    const [w, h] = [this.width, this.height];
    this.boxes.push([w * 0.3, h * 0.3, w * 0.7, h * 0.7].map(Math.round));
    this.select(this.boxes.length - 1);
    this.changed(this.boxes, false);
  }

  remove(number) {
    this.boxes.splice(number, 1);
    this.active = -1;
    this.draw();
    const next = this.drawn.children[Math.min(number, this.boxes.length - 1)];
    (next ?? document.getElementById("add")).focus();
    say(`Box ${number + 1} removed`);
    this.changed(this.boxes, true);
  }

  select(number) {
    this.active = number;
    this.draw();
    this.drawn.children[number]?.focus({ preventScroll: true });
  }

  // ---- regions

  setRegions(regions) {
    const size = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);
    this.regions = [...regions].sort((one, other) => size(other.box) - size(one.box));
    this.showLevel(this.level);
  }

  get levels() {
    return [...new Set(this.regions.map((region) => region.level))].sort((one, other) => one - other);
  }

  showLevel(level) {
    this.level = level;
    this.draw();
    const shown = this.regions.filter((one) => level === "all" || one.level === level);
    this.shown = level === "none" ? [] : shown;
    this.suggestions.replaceChildren(...this.shown.map(({ box, level: its }, number) => {
      const [w, h] = [box[2] - box[0], box[3] - box[1]].map(Math.round);
      const button = make("button", {
        type: "button", class: "region", tabindex: number === 0 ? "0" : "-1",
        "aria-label": `Region ${number + 1} of ${this.shown.length}, level ${its}, ${w} by ${h} pixels`,
        onclick: (event) => { if (event.detail === 0) this.take(box, event.shiftKey); },
      });
      place(button, box, this.width, this.height);
      return button;
    }));
  }

  walk(event) {
    const all = [...this.suggestions.children];
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const now = all.indexOf(document.activeElement);
    const next = (now + step + all.length) % all.length;
    all.forEach((one, number) => { one.tabIndex = number === next ? 0 : -1; });
    all[next].focus();
  }

  take(box, more) {
    const taken = this.clipped(box.map((side) => Math.round(side * 10) / 10));
    this.boxes = more ? [...this.boxes, taken] : [taken];
    this.select(this.boxes.length - 1);
    this.changed(this.boxes, true);
  }

  // The smallest region at a point, as its place in `shown`: they are sorted by size, largest first.
  regionAt([x, y]) {
    return this.shown?.findLastIndex(({ box }) => x >= box[0] && x < box[2] && y >= box[1] && y < box[3]) ?? -1;
  }

  heat(point) {
    const hot = point ? this.regionAt(point) : -1;
    [...this.suggestions.children].forEach((one, number) => one.classList.toggle("hot", number === hot));
  }

  // ---- pointers

  point(event) {
    const frame = this.layer.getBoundingClientRect();
    return [
      ((event.clientX - frame.left) / frame.width) * this.width,
      ((event.clientY - frame.top) / frame.height) * this.height,
    ];
  }

  down(event) {
    if (event.button !== 0 || event.target.closest(".remove")) return;
    event.preventDefault();
    const over = event.target.closest(".box");
    const number = over ? [...this.drawn.children].indexOf(over) : -1;
    const corner = Object.keys(CORNERS).find((name) => event.target.classList.contains(name));
    const how = corner ? "resize" : number >= 0 && number === this.active ? "move" : "draw";
    this.stroke = {
      how, corner, number, from: this.point(event), at: [event.clientX, event.clientY], moved: false,
      before: this.boxes.map((box) => [...box]), id: event.pointerId,
    };
    this.layer.setPointerCapture(event.pointerId);
  }

  move(event) {
    const stroke = this.stroke;
    if (!stroke) {
      this.heat(event.target.closest(".box.active") ? null : this.point(event));
      return;
    }
    if (stroke.id !== event.pointerId) return;
    const far = Math.hypot(event.clientX - stroke.at[0], event.clientY - stroke.at[1]);
    if (!stroke.moved && far < CLICK) return;
    const [x, y] = this.point(event);
    const [x0, y0] = stroke.from;
    if (stroke.how === "draw") {
      const box = [Math.min(x, x0), Math.min(y, y0), Math.max(x, x0), Math.max(y, y0)];
      const kept = event.shiftKey ? stroke.before : [];
      this.boxes = [...kept, this.clipped(box)];
      this.active = this.boxes.length - 1;
    } else if (stroke.how === "move") {
      this.boxes[stroke.number] = this.shifted(stroke.before[stroke.number], x - x0, y - y0);
    } else {
      const box = [...stroke.before[stroke.number]];
      const [across, down] = CORNERS[stroke.corner];
      box[across] = x;
      box[down] = y;
      this.boxes[stroke.number] = this.clipped([
        Math.min(box[0], box[2]), Math.min(box[1], box[3]), Math.max(box[0], box[2]), Math.max(box[1], box[3]),
      ]);
    }
    stroke.moved = true;
    this.heat(null);
    this.draw();
  }

  up(event) {
    const stroke = this.stroke;
    if (!stroke || stroke.id !== event.pointerId) return;
    this.stroke = null;
    if (stroke.moved) {
      this.boxes = this.boxes.map((box) => box.map((side) => Math.round(side * 10) / 10));
      this.select(stroke.how === "draw" ? this.boxes.length - 1 : stroke.number);
      this.changed(this.boxes, true);
      return;
    }
    const region = this.regionAt(stroke.from);
    if (stroke.number >= 0 && stroke.number !== this.active) this.select(stroke.number);
    else if (stroke.number < 0 && region >= 0) this.take(this.shown[region].box, event.shiftKey);
    else if (stroke.number < 0) this.select(-1);
  }

  cancel() {
    if (this.stroke) this.boxes = this.stroke.before;
    this.stroke = null;
    this.draw();
  }

  // ---- keys

  key(event, number) {
    if (event.target.closest(".remove")) return;
    if (event.key === "Delete" || event.key === "Backspace") {
      event.preventDefault();
      this.remove(number);
      return;
    }
    const arrow = ARROWS[event.key];
    if (!arrow) return;
    event.preventDefault();
    const step = event.altKey ? 1 : Math.max(1, Math.round(STEP * Math.max(this.width, this.height)));
    const [dx, dy] = arrow.map((way) => way * step);
    const box = this.boxes[number];
    this.boxes[number] = event.shiftKey
      ? this.clipped([box[0], box[1], Math.max(box[0] + LEAST, box[2] + dx), Math.max(box[1] + LEAST, box[3] + dy)])
      : this.shifted(box, dx, dy);
    this.select(number);
    say(this.label(number));
    this.changed(this.boxes, false);
  }

  // ---- boxes

  clipped([x0, y0, x1, y1]) {
    const inside = (low, high, most) => {
      const start = Math.min(Math.max(low, 0), most - LEAST);
      return [start, Math.min(Math.max(high, start + LEAST), most)];
    };
    const [left, right] = inside(x0, x1, this.width);
    const [top, bottom] = inside(y0, y1, this.height);
    return [left, top, right, bottom];
  }

  shifted([x0, y0, x1, y1], dx, dy) {
    const across = Math.min(Math.max(dx, -x0), this.width - x1);
    const down = Math.min(Math.max(dy, -y0), this.height - y1);
    return [x0 + across, y0 + down, x1 + across, y1 + down];
  }

  label(number) {
    const [x0, y0, x1, y1] = this.boxes[number].map(Math.round);
    return `Box ${number + 1} of ${this.boxes.length}: ${x1 - x0} by ${y1 - y0} pixels, ${x0} from the left, ${y0} from the top`;
  }

  draw() {
    if (!this.layer) return;
    // Elements are kept while their number is: a new one would lose the focus.
    while (this.drawn.children.length > this.boxes.length) this.drawn.lastChild.remove();
    while (this.drawn.children.length < this.boxes.length) this.drawn.append(this.newBox(this.drawn.children.length));
    // All regions at once hide what is marked; those of a chosen level do not.
    this.root.classList.toggle("boxed", this.boxes.length > 0 && this.level === "all");
    [...this.drawn.children].forEach((element, number) => {
      const box = this.boxes[number];
      place(element, box, this.width, this.height);
      element.classList.toggle("active", number === this.active);
      element.classList.toggle("small", (box[2] - box[0]) / this.width < 0.22 || (box[3] - box[1]) / this.height < 0.22);
      element.setAttribute("aria-label", this.label(number));
      element.querySelector(".number").hidden = this.boxes.length < 2;
    });
  }

  newBox(number) {
    return make(
      "div",
      {
        class: "box", role: "application", tabindex: "0", "aria-describedby": "keys",
        onkeydown: (event) => this.key(event, number),
        onfocus: () => { if (this.active !== number) { this.active = number; this.draw(); } },
      },
      make("span", { class: "number", "aria-hidden": "true" }, `${number + 1}`),
      ...Object.keys(CORNERS).map((name) => make("span", { class: `handle ${name}` })),
      make("button", {
        type: "button", class: "remove", "aria-label": `Remove box ${number + 1}`, onclick: () => this.remove(number),
      }, "✕"),
    );
  }
}
