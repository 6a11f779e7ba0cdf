"use strict";
const element = (name, text) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return made;
};

const asText = (value) => {
  if (Array.isArray(value)) return value.map(asText).join("\n");
  if (typeof value === "number") return String(Number(value.toPrecision(6)));
  if (value !== null && typeof value === "object") return Object.values(value).map(asText).join("  ");
  return String(value);
};

const tableOf = (rows) => {
  const table = element("table");
  const columns = Object.keys(rows[0]);
  const heading = table.createTHead().insertRow();
  for (const column of columns) heading.append(element("th", column));
  const body = table.createTBody();
  for (const row of rows) {
    const cells = body.insertRow();
    for (const column of columns) cells.insertCell().textContent = asText(row[column]);
  }
  return table;
};

const show = (content, seconds) => {
  const failed = content.error !== undefined;
  const words = [content.error, content.why, content.hint].filter((each) => each);
  const shown = failed ? element("p", words.join(". ")) : tableOf(content.predictions);
  if (failed) shown.className = "error";
  document.getElementById("shown").replaceChildren(shown);
  document.getElementById("time").textContent = failed ? "" : `${(1000 * seconds).toFixed(0)} ms`;
  document.getElementById("result").hidden = false;
};

const ask = async (form, request) => {
  const button = form.querySelector("button");
  const started = performance.now();
  button.disabled = true;
  try {
    const response = await fetch("predict", { method: "POST", ...request });
    show(await response.json(), (performance.now() - started) / 1000);
  } catch (error) {
    show({ error: `no answer: ${error.message}` });
  } finally {
    button.disabled = false;
  }
};

const on = (name, requestOf) => {
  const form = document.getElementById(name);
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    ask(form, requestOf(form));
  });
};
on("files", (form) => ({ body: new FormData(form) }));
on("values", (form) => ({
  body: form.querySelector("textarea").value,
  headers: { "Content-Type": "application/json" },
}));
for (const each of document.querySelectorAll(".origin")) each.textContent = location.origin;
