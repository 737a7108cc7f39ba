"use strict";
// The search page; media.js has what it shares with others.

const HINTS = {image: "Drop or choose an image", sound: "Drop or choose a recording"};
const fields = {};  // {modality: {kind, part, value(), set(file), clear()}}
let running = null;

// ---- the fields of the query

function textField(modality, part) {
  const field = copy("text-field"), area = field.querySelector("textarea");
  field.classList.add(`part-${part}`);
  field.querySelector(".name").textContent = modality;
  area.name = modality;
  area.addEventListener("keydown", event => {
    if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); byId("query").requestSubmit(); }
  });
  byId("fields").append(field);
  fields[modality] = {kind: "text", part, value: () => area.value.trim(), clear: () => { area.value = ""; }};
}

function fileField(modality, kind, part) {
  const field = copy("file-field"), drop = field.querySelector(".drop"), input = field.querySelector("input");
  const choose = field.querySelector(".choose"), chosen = field.querySelector(".chosen");
  const remove = field.querySelector(".remove");
  let file = null, address = null;
  field.classList.add(`part-${part}`);
  field.dataset.modality = modality;
  field.querySelector(".name").textContent = modality;
  field.querySelector(".hint").textContent = HINTS[kind];
  input.accept = ACCEPT[kind];
  input.setAttribute("aria-label", `${modality}: ${HINTS[kind]}`);

  function clear() {
    if (address) URL.revokeObjectURL(address);
    file = address = null;
    input.value = "";
    chosen.replaceChildren();
    chosen.hidden = remove.hidden = true;
    choose.hidden = false;
  }
  async function set(given) {
    clear();
    showError("");
    try {
      file = await readable(given, kind);
    } catch (error) {
      showError(error.message);
      return;
    }
    address = URL.createObjectURL(file);
    chosen.replaceChildren(shownFile(kind, address), element("span", "", file.name));
    chosen.hidden = remove.hidden = false;
    choose.hidden = true;
  }
  input.addEventListener("change", () => input.files.length && set(input.files[0]));
  remove.addEventListener("click", clear);
  droppable(field, drop, files => set(files[0]));
  if (kind === "sound") recorder(field.querySelector(".record"), set); else field.querySelector(".record").remove();
  byId("fields").append(field);
  fields[modality] = {kind, part, value: () => file, set, clear};
}

// ---- the search

async function search() {
  showError("");
  const form = new FormData();
  for (const [modality, field] of Object.entries(fields)) {
    const value = field.value();
    if (value) form.append(modality, value);
  }
  if (![...form.keys()].length) {
    showError(`The query is empty: give at least one of ${Object.keys(fields).join(", ")}.`);
    return;
  }
  if (running) running.abort();
  const own = running = new AbortController();
  byId("status").textContent = "Searching …";
  try {
    const response = await fetch("/search", {method: "POST", body: form, signal: own.signal});
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    show(answer);
    byId("status").textContent = "";
  } catch (error) {
    if (own.signal.aborted) return;
    byId("status").textContent = "";
    showError(error instanceof TypeError ? "The server does not answer." : error.message);
  }
}

function inOrder(modalities) {
  return [...modalities].sort((a, b) => fields[a].part - fields[b].part);
}

function show(answer) {
  const legend = [element("span", "", `${answer.results.length} nearest items`)];
  for (const name of inOrder(answer.query)) legend.push(element("span", `swatch part-${fields[name].part}`), element("span", "", name));
  byId("legend").replaceChildren(...legend);
  const values = answer.results.flatMap(result => Object.values(result.contributions));
  const range = [Math.min(0, ...values), Math.max(1e-9, ...values)];  // the bars of all results have one scale
  byId("results").replaceChildren(...answer.results.map((result, i) => card(result, i + 1, range)));
  byId("found").hidden = false;
}

function card(result, rank, [low, high]) {
  const made = copy("result"), media = made.querySelector(".media");
  for (const kind of result.media) {
    const shown = element(kind === "image" ? "img" : "audio");
    shown.src = `/item/${result.item}/${kind}`;
    if (kind === "image") { shown.alt = result.caption || result.id; shown.loading = "lazy"; }
    else { shown.controls = true; shown.preload = "none"; }
    media.append(shown);
  }
  made.querySelector(".caption").textContent = result.caption;
  made.querySelector(".id").textContent = result.id;
  made.querySelector(".score").textContent = `${rank}.  score ${result.score.toFixed(3)}`;
  const given = inOrder(Object.keys(result.contributions));
  for (const name of given.length > 1 ? given : []) {
    const value = result.contributions[name];
    const line = element("li"), scale = element("span", "scale"), bar = element("span", `bar part-${fields[name].part}`);
    bar.style.left = `${100 * (Math.min(value, 0) - low) / (high - low)}%`;
    bar.style.width = `${100 * Math.abs(value) / (high - low)}%`;
    scale.style.backgroundPosition = `${-100 * low / (high - low)}% 0`;
    scale.append(bar);
    line.append(element("span", "", name), scale, element("span", "", (value < 0 ? "−" : "+") + Math.abs(value).toFixed(3)));
    made.querySelector(".contributions").append(line);
  }
  return made;
}

async function start() {
  const state = await (await fetch("/health")).json();
  limit = state.max_bytes;
  byId("about").textContent =
    `${state.gallery.items.toLocaleString("en")} items (${state.gallery.modality}) of ${state.gallery.name}, found by ` +
    `cell ${state.cell} of run ${state.run}.`;
  byId("composition").textContent = state.composition === "fused"
    ? "Several parts of a query are embedded together by the model's fusion."
    : "The embedding of several parts is the sum of their embeddings, scaled to unit length.";
  const order = {text: 0, image: 1, sound: 2};
  const sorted = Object.entries(state.query).sort((a, b) => order[a[1]] - order[b[1]]);
  sorted.forEach(([modality, kind], part) => kind === "text" ? textField(modality, part) : fileField(modality, kind, part));
  byId("query").addEventListener("submit", event => { event.preventDefault(); search(); });
  byId("clear").addEventListener("click", () => {
    Object.values(fields).forEach(field => field.clear());
    byId("found").hidden = true;
    showError("");
  });
  document.body.dataset.ready = "yes";
}

start().catch(() => showError("The server does not answer."));
