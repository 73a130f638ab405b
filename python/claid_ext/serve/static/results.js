// Hits as a grid, and one of them at full size.

import * as api from "./api.js";
import { find, make, picture, place } from "./dom.js";

const THIS_SURE = 2; // digits of a score
export const shownScore = (score) => score.toFixed(THIS_SURE);
const certainty = (hit) => (hit.probability === null ? "" : `${Math.round(100 * hit.probability)} % likely`);

function marked(frame, hit) {
  const boxes = hit.parts.length ? hit.parts.map((part) => part.box) : [hit.box];
  for (const [number, box] of boxes.entries()) {
    const mark = make("span", { class: "mark" }, ...(boxes.length > 1 ? [make("b", {}, `${number + 1}`)] : []));
    place(mark, box, hit.photo.width, hit.photo.height);
    frame.append(mark);
  }
  return frame;
}

function framed(source, hit, mostHeight) {
  const { width, height, name } = hit.photo;
  const frame = marked(picture(source, name, width, height, mostHeight), hit);
  const around = make("span", { class: "gone" }, "This photo cannot be shown: its file is gone or has changed.");
  return [frame, around];
}

export class Results {
  // `again(hit)` is called to search with a hit.
  constructor(again) {
    this.again = again;
    this.shown = [];
    this.viewer = find("viewer");
    find("viewer-close").addEventListener("click", () => this.viewer.close());
    find("viewer-previous").addEventListener("click", () => this.open(this.number - 1));
    find("viewer-next").addEventListener("click", () => this.open(this.number + 1));
    find("viewer-search").addEventListener("click", () => {
      this.viewer.close();
      this.again(this.shown[this.number]);
    });
    this.viewer.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step) this.open(this.number + step);
    });
    this.viewer.addEventListener("click", (event) => { if (event.target === this.viewer) this.viewer.close(); });
  }

  show(hits) {
    this.shown = hits;
    find("hits").replaceChildren(...hits.map((hit, number) => this.card(hit, number)));
  }

  card(hit, number) {
    const { name } = hit.photo;
    const [frame, gone] = framed(api.thumbnail(hit.photo.id), hit, "100%");
    const wide = hit.photo.width / hit.photo.height > 4 / 3;
    frame.style.width = wide ? "100%" : "auto";
    frame.style.height = wide ? "auto" : "100%";
    const open = make(
      "button",
      {
        type: "button", class: "open", onclick: () => this.open(number),
        "aria-label": `${number + 1}: ${name}, score ${shownScore(hit.score)}${hit.likely === false ? ", unlikely" : ""}. Show it large`,
      },
      frame, gone,
    );
    frame.querySelector("img").addEventListener("error", () => open.classList.add("broken"));
    return make(
      "li", { class: "hit" }, open,
      make(
        "p", { class: "facts" },
        make("span", { class: "rank", "aria-hidden": "true" }, `${number + 1}`),
        make("span", { class: "score", title: "score" }, shownScore(hit.score)),
        ...(hit.likely === false ? [make("span", { class: "unlikely", title: certainty(hit) }, "unlikely")] : []),
        make("span", { class: "name", title: name }, name),
      ),
      make("button", {
        type: "button", class: "again", "aria-label": `Search with this hit, ${name}`, onclick: () => this.again(hit),
      }, "Search with this hit"),
    );
  }

  open(number) {
    if (number < 0 || number >= this.shown.length) return;
    this.number = number;
    const hit = this.shown[number];
    const [frame, gone] = framed(api.image({ photo: hit.photo.id }), hit, "66vh");
    const view = find("view");
    view.classList.remove("broken");
    frame.querySelector("img").addEventListener("error", () => view.classList.add("broken"));
    view.replaceChildren(frame, gone);
    find("viewer-title").textContent = hit.photo.name;
    const facts = [`Number ${number + 1}`, `score ${shownScore(hit.score)}`, certainty(hit), `in ${hit.photo.folder}`];
    find("viewer-where").textContent = facts.filter(Boolean).join(", ");
    find("viewer-previous").disabled = number === 0;
    find("viewer-next").disabled = number === this.shown.length - 1;
    if (!this.viewer.open) this.viewer.showModal();
  }
}
