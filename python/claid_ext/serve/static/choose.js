// Choosing the query's photo: those of the index page by page, or a picture of one's own.

import * as api from "./api.js";
import { count, find, make, number } from "./dom.js";

const PAGE = 60;
const FIRST = -1; // what the list begins behind: ids begin at 0
const TYPING = 250; // ms without a key before the list follows

export class Chooser {
  // `chosen(source)` is called with { photo } or { upload }, `failed(error)` with what went wrong.
  constructor(chosen, failed) {
    this.chosen = chosen;
    this.failed = failed;
    this.next = FIRST;
    this.listing = new AbortController();
    find("more").addEventListener("click", () => this.load());
    find("choose-folder").addEventListener("change", () => this.restart());
    find("choose-name").addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.restart(), TYPING);
    });
    find("choose-filters").addEventListener("submit", (event) => event.preventDefault());
    find("file-button").addEventListener("click", () => find("file").click());
    find("file").addEventListener("change", (event) => {
      if (event.target.files.length) this.send(event.target.files[0]);
      event.target.value = "";
    });
    this.takeDrops();
  }

  async restart() {
    this.listing.abort();
    this.listing = new AbortController();
    this.next = FIRST;
    find("photos").replaceChildren();
    await this.load();
  }

  // Photos that were added meanwhile belong to the end of the list: shown if the end is.
  async grown() {
    if (this.next === null) {
      this.next = this.last ?? FIRST;
      await this.load();
    }
  }

  async load() {
    const { signal } = this.listing;
    if (this.loading === signal) return;
    this.loading = signal;
    try {
      const asked = { after: this.next, limit: PAGE, folder: find("choose-folder").value, name: find("choose-name").value.trim() };
      const page = await api.photos(asked, signal);
      if (signal.aborted) return;
      find("photos").append(...page.photos.map((photo) => this.tile(photo)));
      this.next = page.next;
      this.last = page.photos.at(-1)?.id ?? this.last;
      find("more").hidden = page.next === null;
      find("choose-count").textContent = page.total ? count(page.total, "photo") : "No photo is called so here.";
    } catch (error) {
      if (error.name !== "AbortError") this.failed(error);
    } finally {
      if (this.loading === signal) this.loading = null;
    }
  }

  tile(photo) {
    const image = make("img", { src: api.thumbnail(photo.id), alt: "", loading: "lazy", decoding: "async" });
    const tile = make(
      "button", { type: "button", class: "tile", title: photo.name, onclick: () => this.chosen({ photo: photo.id }) },
      image, make("span", {}, photo.name),
    );
    image.addEventListener("error", () => tile.classList.add("lost"));
    return make("li", {}, tile);
  }

  async send(file) {
    document.body.classList.add("sending");
    try {
      const { upload } = await api.upload(file);
      this.chosen({ upload });
    } catch (error) {
      this.failed(error);
    } finally {
      document.body.classList.remove("sending");
    }
  }

  takeDrops() {
    const veil = find("veil");
    const holdsFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    window.addEventListener("dragover", (event) => {
      if (!holdsFile(event)) return;
      event.preventDefault();
      veil.hidden = false;
    });
    window.addEventListener("dragleave", (event) => { if (!event.relatedTarget) veil.hidden = true; });
    window.addEventListener("drop", (event) => {
      veil.hidden = true;
      if (!holdsFile(event)) return;
      event.preventDefault();
      if (event.dataTransfer.files.length) this.send(event.dataTransfer.files[0]);
    });
    window.addEventListener("paste", (event) => {
      const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
      if (file) this.send(file);
    });
  }
}

export async function fillFolders(...selects) {
  const folders = await api.folders();
  for (const select of selects) {
    const before = select.value;
    select.replaceChildren(
      select.options[0],
      ...folders.map(({ folder, label, photos }) => make("option", { value: folder }, `${label} (${number(photos)})`)),
    );
    setFolder(select, before);
  }
}

// A folder of the address may be one that no photo is in itself.
export function setFolder(select, folder) {
  if (folder && ![...select.options].some((option) => option.value === folder)) {
    select.append(make("option", { value: folder }, folder));
  }
  select.value = folder;
}
