"use strict";
// What pages share: errors, and files that are chosen, dropped or recorded. What comes from a file or the server is text, not HTML.

const RATE = 16000, LONGEST = 30;  // Hz and seconds of a recording
const ACCEPT = {image: "image/png,image/jpeg,image/webp,image/gif,image/bmp", sound: "audio/*"};
const READABLE = /\.(wav|flac|ogg|oga|mp3)$/i;  // sounds that the server reads; the browser converts others
const byId = id => document.getElementById(id);
const copy = id => byId(id).content.firstElementChild.cloneNode(true);
let limit = Infinity;  // bytes of a request

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function showError(message) {
  byId("error").textContent = message || "";
  byId("error").hidden = !message;
}

// The file as the server reads it; an error says why not.
async function readable(given, kind) {
  if (given.size > limit) throw new Error(`${given.name} is larger than ${limit / 1e6} MB`);
  return kind === "sound" && !READABLE.test(given.name) ? await asWav(given) : given;
}

// An image, or a sound with its controls. address: of URL.createObjectURL.
function shownFile(kind, address) {
  const shown = element(kind === "image" ? "img" : "audio");
  shown.src = address;
  if (kind === "image") shown.alt = "the chosen image"; else shown.controls = true;
  return shown;
}

// Files that are dropped on an element. over: marks it while one is above.
function droppable(target, over, done) {
  for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
    target.addEventListener(name, event => {
      event.preventDefault();
      over.classList.toggle("over", name === "dragenter" || name === "dragover");
    });
  }
  target.addEventListener("drop", event => event.dataTransfer.files.length && done([...event.dataTransfer.files]));
}

// A file that misses its field must not replace the page.
for (const name of ["dragover", "drop"]) window.addEventListener(name, event => event.preventDefault());

// ---- recordings: the browser records in a format of its own, and the page makes a WAV file of it

function recorder(button, done) {
  if (!window.MediaRecorder || !navigator.mediaDevices || !navigator.mediaDevices.getUserMedia) return;
  let recording = null;
  button.hidden = false;
  button.addEventListener("click", async () => {
    if (recording) { recording.stop(); return; }
    showError("");
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({audio: true});
    } catch (error) {
      showError(`The microphone cannot be used: ${error.message}`);
      return;
    }
    const parts = [];
    recording = new MediaRecorder(stream);
    recording.addEventListener("dataavailable", event => parts.push(event.data));
    recording.addEventListener("stop", () => {
      clearTimeout(timer);
      stream.getTracks().forEach(track => track.stop());
      button.textContent = "Record";
      button.classList.remove("on");
      recording = null;
      done(new File(parts, "recording", {type: parts.length ? parts[0].type : ""}));
    });
    const timer = setTimeout(() => recording && recording.stop(), LONGEST * 1000);
    recording.start();
    button.textContent = "Stop";
    button.classList.add("on");
  });
}

async function asWav(file) {
  const context = new OfflineAudioContext(1, 1, RATE);
  let decoded;
  try {
    decoded = await context.decodeAudioData(await file.arrayBuffer());  // resampled to RATE
  } catch (error) {
    throw new Error(`${file.name}: this browser cannot read the sound; choose a WAV, FLAC, Ogg or MP3 file`);
  }
  const count = decoded.length, view = new DataView(new ArrayBuffer(44 + 2 * count));
  const ascii = (at, text) => [...text].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  ascii(0, "RIFF"); view.setUint32(4, 36 + 2 * count, true); ascii(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, RATE, true); view.setUint32(28, 2 * RATE, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  ascii(36, "data"); view.setUint32(40, 2 * count, true);
  const channels = [...Array(decoded.numberOfChannels).keys()].map(i => decoded.getChannelData(i));
  for (let i = 0; i < count; i++) {
    const sample = channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length;
    view.setInt16(44 + 2 * i, Math.max(-1, Math.min(1, sample)) * 32767, true);
  }
  return new File([view], `${file.name.replace(/\.[^.]*$/, "")}.wav`, {type: "audio/wav"});
}
