// The server's API. What it answers with an error is thrown with the message it gives.

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server does not answer.");
  }
  if (response.ok) return response.json();
  let message = `The server answers ${response.status}.`;
  try {
    message = (await response.json()).error || message;
  } catch { /* no JSON: the status says it */ }
  throw new Refused(response.status, message);
}

const query = (values) => {
  const given = Object.entries(values).filter(([, value]) => value !== "" && value != null);
  return given.length ? `?${new URLSearchParams(given)}` : "";
};
const at = (source) => ("photo" in source ? `/api/photos/${source.photo}` : `/api/uploads/${source.upload}`);

export const index = (signal) => ask("/api/index", { signal });
export const folders = () => ask("/api/folders");
export const photos = (values, signal) => ask(`/api/photos${query(values)}`, { signal });
export const details = (source, signal) => ask(at(source), { signal });
export const regions = (source, signal) => ask(`${at(source)}/regions`, { signal });
export const image = (source) => `${at(source)}/image`;
export const thumbnail = (photo) => `/api/photos/${photo}/thumbnail`;
export const search = (asked, signal) =>
  ask("/api/search", {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(asked), signal,
  });
export const upload = (file, signal) =>
  ask("/api/uploads", {
    method: "POST", body: file, signal,
    headers: { "content-type": file.type.startsWith("image/") ? file.type : "application/octet-stream" },
  });
