// The page: its state is the address; everything shown follows from it.

import * as address from "./address.js";
import * as api from "./api.js";
import { Chooser, fillFolders, setFolder } from "./choose.js";
import { count, find, make, number, say } from "./dom.js";
import { Results, shownScore } from "./results.js";
import { Stage } from "./stage.js";

const FOLLOW = 4000; // ms between looks at the index
const KEYS = 700; // ms without a key before a search follows

let state = address.read(location.hash);
let shownSource = null; // what the stage shows
let found = null; // the last answer
let searching = new AbortController();
let waiting; // for a pause between keys
let index = null;

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
const stage = new Stage(find("stage"), changedBoxes);
const chooser = new Chooser((source) => go({ source, boxes: [], all: false, whole: false, min: null }), fail);
const results = new Results((hit) => {
  const boxes = (hit.parts.length ? hit.parts.map((part) => part.box) : [hit.box]).map((box) => box.map((side) => Math.round(side * 10) / 10));
  go({ source: { photo: hit.photo.id }, boxes, all: hit.parts.length > 0, whole: false, min: null });
  window.scrollTo({ top: 0 });
  find("query-title").focus();
});

// ---- the address

function go(changes, { replace = false } = {}) {
  state = { ...state, ...changes };
  const url = location.pathname + address.write(state);
  if (replace) history.replaceState(null, "", url);
  else history.pushState(null, "", url);
  render();
}

function fromAddress() {
  state = address.read(location.hash);
  render();
}

async function render() {
  find("alert").hidden = true;
  const searchingNow = state.source !== null;
  find("choose").hidden = searchingNow;
  find("search").hidden = !searchingNow;
  document.title = searchingNow ? "claid: search" : "claid";
  if (!searchingNow) {
    shownSource = null;
    searching.abort();
    if (!find("photos").children.length) await chooser.restart();
    return;
  }
  setFolder(find("folder"), state.folder);
  showK();
  if (!same(shownSource, state.source) && !(await showSource())) return;
  if (!same(stage.boxes, state.boxes)) stage.setBoxes(state.boxes);
  showBoxes();
  search();
}

async function showSource() {
  const { source } = state;
  shownSource = source;
  searching.abort();
  forget();
  try {
    const { width, height, name } = await api.details(source);
    if (!same(source, state.source)) return false;
    stage.show(api.image(source), name ?? "Your picture", width, height);
    find("query-title").textContent = name ?? "Your picture";
    showLevels();
    suggest(source);
    return true;
  } catch (error) {
    if (!same(source, state.source)) return false;
    shownSource = null;
    find("query-title").textContent = "Looking for";
    stage.fail(error.status === 404 && "upload" in source
      ? "This picture is not in the server's memory any more. Drop it in again: the boxes are kept."
      : `${error.message}. Choose another photo.`);
    find("levels").replaceChildren();
    return false;
  }
}

async function suggest(source) {
  try {
    const { regions } = await api.regions(source);
    if (!same(source, shownSource)) return;
    stage.setRegions(regions);
    showLevels();
  } catch (error) {
    if (same(source, shownSource)) find("levels").replaceChildren(make("span", {}, `No suggestions: ${error.message}`));
  }
}

// ---- the query

function changedBoxes(boxes, settled) {
  clearTimeout(waiting);
  state.boxes = boxes.map((box) => [...box]);
  state.whole = false;
  showBoxes();
  if (settled) go({});
  else waiting = setTimeout(() => go({}), KEYS);
}

function showBoxes() {
  const { boxes } = state;
  find("mode").hidden = boxes.length < 2;
  document.querySelector(`input[name=mode][value=${state.all ? "all" : "any"}]`).checked = true;
  find("clear").disabled = boxes.length === 0;
  find("go").textContent = boxes.length ? "Search" : "Search whole photo";
  const holder = find("numbers").lastElementChild;
  if (holder.contains(document.activeElement) && holder.children.length === boxes.length) return;
  holder.replaceChildren(...boxes.map((box, which) => make(
    "fieldset", {}, make("legend", {}, `Box ${which + 1}`),
    ...["Left", "Top", "Right", "Bottom"].map((side, place) => make("label", {}, side, make("input", {
      type: "number", value: Math.round(box[place]), min: 0, max: place % 2 ? stage.height : stage.width,
      onchange: (event) => {
        const changed = state.boxes.map((one) => [...one]);
        changed[which][place] = Number(event.target.value);
        stage.setBoxes(changed);
        changedBoxes(stage.boxes, true);
      },
    }))),
  )));
  if (!boxes.length) holder.replaceChildren(make("p", { class: "quiet" }, "No box yet."));
}

function showLevels() {
  const { levels } = stage;
  if (!levels.length) {
    find("levels").replaceChildren(make("span", {}, "Suggested regions…"));
    return;
  }
  const choices = [["all", "All"], ...levels.map((level) => [level, `${level}`]), ["none", "None"]];
  find("levels").replaceChildren(
    make("span", {}, "Regions"),
    ...choices.map(([level, text]) => make("button", {
      type: "button", "aria-pressed": `${stage.level === level}`,
      "aria-label": typeof level === "number" ? `Level ${level}` : text,
      onclick: () => { stage.showLevel(level); showLevels(); find("levels").querySelector("[aria-pressed=true]")?.focus(); },
    }, text)),
  );
}

// ---- the search

function forget() {
  found = null;
  for (const id of ["absent", "newer", "nothing"]) find(id).hidden = true;
  find("summary").textContent = "";
  results.show([]);
}

async function search() {
  clearTimeout(waiting);
  if (!state.boxes.length && !state.whole) {
    searching.abort();
    document.body.classList.remove("busy");
    forget();
    find("nothing").hidden = false;
    find("nothing").textContent = "Mark the thing in the photo, and see here where else it is.";
    return;
  }
  const asked = { ...state.source, boxes: state.boxes, all_of: state.all && state.boxes.length > 1, k: state.k };
  if (state.folder) asked.folder = state.folder;
  if (found && same(found.asked, asked)) {
    showHits();
    return;
  }
  searching.abort();
  searching = new AbortController();
  const { signal } = searching;
  document.body.classList.add("busy");
  find("summary").textContent = "Searching…";
  try {
    const start = performance.now();
    const answer = await api.search(asked, signal);
    if (signal.aborted) return;
    found = { ...answer, asked, took: (performance.now() - start) / 1000 };
    find("newer").hidden = true;
    showHits();
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) return;
    forget();
    fail(error);
  } finally {
    if (searching.signal === signal) document.body.classList.remove("busy");
  }
}

function showHits() {
  const { hits, took } = found;
  const scores = hits.map((hit) => hit.score);
  const [least, most] = hits.length ? [Math.min(...scores), Math.max(...scores)] : [0, 1];
  const slider = find("score");
  slider.min = Math.floor(Math.min(least, state.min ?? least) * 100) / 100;
  slider.max = Math.ceil(Math.max(most, state.min ?? most) * 100) / 100;
  slider.value = state.min ?? slider.min;
  find("score-value").textContent = shownScore(Number(slider.value));
  const shown = state.min === null ? hits : hits.filter((hit) => hit.score >= state.min);
  results.show(shown);
  const known = hits.filter((hit) => hit.likely !== null);
  find("absent").hidden = known.length === 0 || known.some((hit) => hit.likely);
  const all = shown.length === hits.length;
  find("summary").textContent = hits.length
    ? `${all ? count(hits.length, "photo") : `${shown.length} of ${count(hits.length, "photo")}`}, best first, in ${took.toFixed(1)} s`
    : "";
  find("nothing").hidden = shown.length > 0;
  find("nothing").textContent = hits.length
    ? "All photos are below this score."
    : "There are no other photos here: choose another folder, or index more.";
}

function showK() {
  const select = find("k");
  if (![...select.options].some((option) => Number(option.value) === state.k)) select.append(make("option", {}, `${state.k}`));
  select.value = `${state.k}`;
}

function fail(error) {
  find("alert").hidden = false;
  find("alert").firstElementChild.textContent = error.status === 401 ? "The token is no longer valid: reload the page." : error.message;
}

// ---- the index, as it grows

async function follow() {
  try {
    if (document.visibilityState === "visible") {
      const now = await api.index();
      find("index-name").textContent = now.name;
      find("count").textContent = count(now.photos, "photo");
      if (index && index.state !== now.state) {
        await fillFolders(find("choose-folder"), find("folder"));
        await chooser.grown();
        say(`The index now holds ${count(now.photos, "photo")}`);
      }
      index = now;
      showNewer();
    }
  } catch { /* it is asked again */ } finally {
    setTimeout(follow, FOLLOW);
  }
}

function showNewer() {
  const newer = found !== null && found.state !== index.state;
  if (newer) {
    const more = index.photos - Number(found.state.split("-")[0]);
    find("newer").firstElementChild.textContent = more > 0
      ? `${count(more, "photo")} ${more === 1 ? "was" : "were"} added since this search.` : "The index has changed since this search.";
  }
  find("newer").hidden = !newer;
}

// ---- controls

const again = () => { found = null; search(); };
find("skip").addEventListener("click", () => find("main").focus());
find("home").addEventListener("click", (event) => { event.preventDefault(); go({ source: null }); });
find("another").addEventListener("click", () => { go({ source: null }); find("main").focus(); });
find("add").addEventListener("click", () => { if (stage.layer) stage.add(); });
find("clear").addEventListener("click", () => { stage.setBoxes([]); changedBoxes([], true); });
find("go").addEventListener("click", () => {
  found = null;
  if (state.boxes.length) search();
  else go({ whole: true });
});
find("newer").lastElementChild.addEventListener("click", again);
find("mode").addEventListener("change", (event) => go({ all: event.target.value === "all" }));
find("folder").addEventListener("change", (event) => go({ folder: event.target.value }));
find("k").addEventListener("change", (event) => go({ k: Number(event.target.value) }));
find("score").addEventListener("input", (event) => {
  const { value, min } = event.target;
  state.min = Number(value) <= Number(min) ? null : Number(value);
  history.replaceState(null, "", location.pathname + address.write(state));
  if (found) showHits();
});
find("result-filters").addEventListener("submit", (event) => event.preventDefault());
find("alert").lastElementChild.addEventListener("click", () => { find("alert").hidden = true; });
find("query-title").tabIndex = -1;
window.addEventListener("popstate", fromAddress);
window.addEventListener("hashchange", fromAddress);

fillFolders(find("choose-folder"), find("folder")).then(() => setFolder(find("folder"), state.folder), fail);
follow();
render();
