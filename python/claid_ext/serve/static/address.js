// The query in the page's address, behind the #: it can be shared, and is not sent to the server.
//   #photo=3&box=80,18,478,388&box=...&all=1&folder=/photos/2024&k=60&min=0.8
// An upload is upload=HASH; the whole photo is whole=1.

const HITS = 30;

export function read(hash) {
  const values = new URLSearchParams(hash.replace(/^#/, ""));
  const photo = values.get("photo");
  const upload = values.get("upload");
  let source = null;
  if (/^\d+$/.test(photo ?? "")) source = { photo: Number(photo) };
  else if (/^[0-9a-f]{64}$/.test(upload ?? "")) source = { upload };
  const boxes = values.getAll("box").map((box) => box.split(",").map(Number))
    .filter((box) => box.length === 4 && box.every(Number.isFinite));
  const k = Number(values.get("k"));
  const min = values.has("min") ? Number(values.get("min")) : NaN;
  return {
    source, boxes,
    all: values.get("all") === "1",
    whole: values.get("whole") === "1",
    folder: values.get("folder") ?? "",
    k: Number.isInteger(k) && k >= 1 && k <= 200 ? k : HITS,
    min: Number.isFinite(min) ? min : null,
  };
}

export function write(state) {
  if (!state.source) return "";
  const values = new URLSearchParams(state.source);
  for (const box of state.boxes) values.append("box", box.map((side) => Math.round(side * 10) / 10).join(","));
  if (state.all && state.boxes.length > 1) values.set("all", "1");
  if (state.whole && !state.boxes.length) values.set("whole", "1");
  if (state.folder) values.set("folder", state.folder);
  if (state.k !== HITS) values.set("k", state.k);
  if (state.min !== null) values.set("min", state.min);
  return `#${values.toString().replaceAll("%2C", ",").replaceAll("%2F", "/")}`;
}
