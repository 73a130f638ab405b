// The API's description, from /api/openapi.json, which the server makes from what it checks.

import { find, make } from "./dom.js";

const api = await (await fetch("/api/openapi.json")).json();

function resolved(schema) {
  if (!schema.$ref) return schema;
  return schema.$ref.split("/").slice(1).reduce((part, name) => part[name], api);
}

function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map(typeOf).filter((name) => name !== "null").join(" or ");
  if (schema.type === "array" && schema.items) return `list of ${typeOf(schema.items)}`;
  if (schema.type === "array" && schema.prefixItems) return `${schema.prefixItems.length} numbers`;
  return schema.format === "binary" ? "bytes" : schema.type ?? "";
}

function bounds(schema) {
  const given = [];
  const one = schema.anyOf?.find((its) => its.type !== "null") ?? schema;
  if (one.minimum != null) given.push(`at least ${one.minimum}`);
  if (one.maximum != null) given.push(`at most ${one.maximum}`);
  if (one.maxItems != null && !one.prefixItems) given.push(`at most ${one.maxItems}`);
  if (schema.default != null && schema.default !== "") given.push(`default ${JSON.stringify(schema.default)}`);
  return given.join(", ");
}

const row = (name, schema, more = "") => make(
  "tr", {}, make("th", { scope: "row" }, name),
  make("td", {}, make("span", { class: "type" }, typeOf(schema)), [schema.description, more, bounds(schema)].filter(Boolean).join("; ")),
);

function fields(title, schema) {
  const whole = resolved(schema.type === "array" ? schema.items : schema);
  const rows = Object.entries(whole.properties ?? {}).map(([name, its]) => row(name, its));
  return rows.length ? [make("h3", {}, `${title}: ${typeOf(schema)}`), make("table", {}, ...rows)] : [];
}

function example(path, method, operation) {
  const at = `${location.origin}${path.replace("{photo}", "3").replace("{upload}", "HASH")}`;
  const body = operation.requestBody?.content ?? {};
  if (body["application/json"]) {
    const [its] = resolved(body["application/json"].schema).examples ?? [{}];
    return `curl ${at} -H 'content-type: application/json' \\\n    -d '${JSON.stringify(its)}'`;
  }
  if (method === "post") return `curl ${at} -H 'content-type: image/jpeg' --data-binary @photo.jpg`;
  return `curl ${at}`;
}

function shown(path, method, operation) {
  const parameters = (operation.parameters ?? []).map((one) => row(
    one.name, { ...one.schema, description: one.description }, one.required ? "required" : "",
  ));
  const body = operation.requestBody?.content?.["application/json"]?.schema;
  const answer = operation.responses["200"]?.content?.["application/json"]?.schema;
  const errors = Object.entries(operation.responses).filter(([status]) => status >= "400");
  return make(
    "section", { class: "operation" },
    make("h2", {}, make("span", {}, method.toUpperCase()), path),
    make("p", {}, operation.description ?? operation.summary ?? ""),
    ...(parameters.length ? [make("h3", {}, "Parameters"), make("table", {}, ...parameters)] : []),
    ...(body ? fields("Body", body) : []),
    ...(answer ? fields("Answer", answer) : [make("h3", {}, "Answer: a JPEG")]),
    ...(errors.length ? [make("h3", {}, "Errors"), make("table", {}, ...errors.map(([status, its]) => row(status, {}, its.description)))] : []),
    make("h3", {}, "Example"), make("pre", { tabindex: "0" }, example(path, method, operation)),
  );
}

find("about").textContent = api.info.description;
for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, operation] of Object.entries(methods)) find("operations").append(shown(path, method, operation));
}
