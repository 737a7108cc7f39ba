"use strict";
// The page of a conversation, which it keeps; media.js has what it shares with others.

const KIND = {image: "image", audio: "sound"};  // names in messages: names in media.js
let messages = [];  // {role, content: text or parts}; a part of a file has `given`, the file
let files = [];  // {type, given} of the next message
let takes = [], remembers = true, running = null;

function fileOf(given) {
  const type = given.type.startsWith("image/") || /\.(png|jpe?g|webp|gif|bmp)$/i.test(given.name) ? "image" : "audio";
  return {type, given};
}

async function add(chosen) {
  showError("");
  for (const one of chosen.map(fileOf)) {
    try {
      if (!takes.includes(one.type)) throw new Error(`${one.given.name}: the model takes no ${one.type}`);
      files.push({type: one.type, given: await readable(one.given, KIND[one.type])});
    } catch (error) {
      showError(error.message);
    }
  }
  showFiles();
}

function showFiles() {
  byId("chosen").replaceChildren(...files.map(one => {
    const line = element("li"), remove = element("button", "remove", "Remove");
    remove.type = "button";
    remove.addEventListener("click", () => { files = files.filter(other => other !== one); showFiles(); });
    line.append(shownFile(KIND[one.type], URL.createObjectURL(one.given)), element("span", "", one.given.name), remove);
    return line;
  }));
  byId("chosen").hidden = !files.length;
}

function show(role, text, media) {
  const made = copy("message");
  made.className = role;
  made.querySelector(".said").textContent = text;
  for (const one of media) made.querySelector(".media").append(shownFile(KIND[one.type], URL.createObjectURL(one.given)));
  byId("messages").append(made);
  made.scrollIntoView({block: "nearest"});
  return made.querySelector(".said");
}

function form() {
  const made = new FormData();
  let count = 0;
  const plain = part => {
    if (part.type === "text") return part;
    made.append(String(count), part.given);
    return {type: part.type, file: String(count++)};
  };
  const list = messages.map(one => ({...one, content: Array.isArray(one.content) ? one.content.map(plain) : one.content}));
  made.append("messages", JSON.stringify(list));
  return made;
}

async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
}

async function ask() {
  const text = byId("text").value.trim();
  if (running || (!text && !files.length)) return;
  showError("");
  const own = running = new AbortController(), asked = files;
  messages.push({role: "user", content: asked.length ? [...asked, {type: "text", text}] : text});
  show("user", text, asked);
  byId("text").value = "";
  files = [];
  showFiles();
  busy("Reading …");
  let said = null, answer = "", complete = false;
  try {
    const response = await fetch("/answer", {method: "POST", body: form(), signal: own.signal});
    if (!response.ok) throw new Error((await response.json()).error);
    said = show("assistant", "", []);
    for await (const line of lines(response)) {
      if (line.error) throw new Error(line.error);
      if (line.dropped) drop(line.dropped);
      if (line.text) { busy(""); answer += line.text; said.textContent = answer; said.scrollIntoView({block: "nearest"}); }
      complete = complete || line.end === true;
    }
    if (!complete) throw new Error("The server ended the answer early.");
  } catch (error) {
    if (!own.signal.aborted) showError(error.message === "Failed to fetch" ? "The server does not answer." : error.message);
  }
  if (own !== running) return;  // a new conversation has begun
  if (said) messages.push({role: "assistant", content: answer});
  else { messages.pop(); byId("messages").lastElementChild.remove(); restore(text, asked); }
  running = null;
  busy(null);
}

function restore(text, asked) {  // before what was entered in the meantime
  byId("text").value = [text, byId("text").value].filter(Boolean).join("\n");
  files = [...asked, ...files];
  showFiles();
}

function drop(turns) {
  messages.splice(0, 2 * turns);
  byId("messages").prepend(element("li", "note", "The conversation exceeds the context: its oldest turns are dropped."));
}

function busy(status) {
  byId("status").textContent = status || "";
  byId("send").disabled = status !== null;
  byId("stop").hidden = status === null;
}

async function start() {
  const state = await (await fetch("/health")).json();
  [limit, takes, remembers] = [state.max_bytes, state.takes, state.remembers];
  byId("about").textContent = state.model + (remembers ? "" : ". Each message is answered without those before.");
  for (const type of takes) {
    const made = copy("file-button"), input = made.querySelector("input");
    made.querySelector("span").textContent = type === "image" ? "Add image" : "Add recording";
    made.dataset.type = type;
    input.accept = ACCEPT[KIND[type]];
    input.multiple = true;
    input.addEventListener("change", () => { add([...input.files]); input.value = ""; });
    byId("new").before(made);
  }
  const record = document.querySelector(".record");
  if (takes.includes("audio")) recorder(record, file => add([file])); else record.remove();
  droppable(byId("question"), document.querySelector(".drop"), add);
  byId("question").addEventListener("submit", event => { event.preventDefault(); ask(); });
  byId("text").addEventListener("keydown", event => {
    if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); byId("question").requestSubmit(); }
  });
  byId("stop").addEventListener("click", () => running && running.abort());
  byId("new").addEventListener("click", () => {
    if (running) running.abort();
    [messages, files, running] = [[], [], null];
    byId("messages").replaceChildren();
    showFiles();
    showError("");
    busy(null);
  });
  document.body.dataset.ready = "yes";
}

start().catch(() => showError("The server does not answer."));
