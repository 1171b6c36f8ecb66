// The page: what comes over /control and /pictures, shown; what is pressed and typed, sent. All text by textContent.

import { Plot } from "./plot.js";

const $ = (id) => document.getElementById(id);
const LOST = 1500; // ms without news, which come ten times a second
const STALE = 2000; // ms without a picture; from the overlay to the camera it takes more than one second
const RETRY = 700; // ms
const COMMAND_STALE = 0.5; // s

function show(element, text, name) {
  if (element.textContent !== text) element.textContent = text;
  if (name !== undefined && element.className !== name) element.className = name;
}

// The two websockets. Each is tried again by itself: a stalled picture must not delay a stop.

function connect(path, onMessage, onOpen = () => {}) {
  const link = { socket: null, send: (text) => link.socket.send(text), isOpen: () => link.socket?.readyState === WebSocket.OPEN };
  const open = () => {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`);
    socket.binaryType = "blob";
    link.socket = socket;
    link.since = performance.now();
    socket.onopen = () => onOpen();
    socket.onmessage = (event) => { link.since = performance.now(); onMessage(event.data); };
    socket.onclose = (event) => { link.why = event.reason; if (link.socket === socket) setTimeout(open, RETRY); };
  };
  link.drop = () => {
    const { socket } = link;
    link.socket = null;
    socket.close();
    open();
  };
  open();
  return link;
}

const known = {};
let heardAt = performance.now();
let offset = 0; // from this page's clock to the dashboard's, in s
let owed = false; // a stop that could not be sent yet
let asked = null; // what was asked of the guard and when, while it is not answered

const control = connect("/control", (text) => {
  const message = JSON.parse(text);
  heardAt = performance.now();
  if (message.news) learn(message.news);
  else if (message.answer) answered(message.answer);
  else if (message.sent !== undefined) show($("sent"), message.sent.trim() ? "sent" : "cleared: the robot slows down and stands", "quiet");
  else if (message.refused) show($("sent"), message.refused, "bad");
}, () => {
  // What was sent into a connection that broke may be lost.
  if (owed || asked?.what === "stop") stop();
});

const pictures = connect("/pictures", paint);

// Stop and enable.

const answers = new Map();
const NO_ANSWER = 1200; // ms; that the guard does not answer, the dashboard itself tells sooner

function stop() {
  if (!control.isOpen()) {
    owed = true;
    answers.clear();
    answers.set("page", { name: "bad", text: "NOT SENT: no connection. Use the robot's own stop. It is sent as soon as the connection is back." });
    return showAnswers();
  }
  owed = false;
  ask("stop", "stopping …");
}

function ask(what, words) {
  answers.clear();
  answers.set("page", { name: "quiet", text: words });
  showAnswers();
  asked = { what, at: performance.now() };
  control.send(JSON.stringify({ do: what }));
}

function complain() {
  if (!asked || asked.isOverdue || performance.now() - asked.at < NO_ANSWER || !answers.has("page") || owed) return;
  asked.isOverdue = true;
  answers.set("page", { name: "bad", text: `THE DASHBOARD DOES NOT ANSWER.${asked.what === "stop" ? " Use the robot's own stop." : ""}` });
  showAnswers();
}

const NAMES = { velocity_guard: "guard", inference: "inference" };

function answered({ node, enabled, attempt, is_there, success, text, seconds }) {
  answers.delete("page");
  if (node === "velocity_guard") asked = null;
  const name = NAMES[node];
  if (text !== undefined) {
    answers.set(node, { name: success ? "good" : "bad", text: `${name}: ${text} (${Math.round(seconds * 1000)} ms)` });
  } else {
    const why = is_there ? "DOES NOT ANSWER" : "is not there";
    const times = attempt > 1 ? `, asked ${attempt} times` : "";
    // A robot may drive without an inference node to ask, but not without a guard.
    const isLoud = node === "velocity_guard" || is_there;
    answers.set(node, { name: isLoud ? "bad" : "quiet", text: isLoud ? `${name.toUpperCase()} ${why}${times}.${enabled ? "" : " Use the robot's own stop."}` : `${name} ${why}` });
  }
  showAnswers();
}

function showAnswers() {
  $("answers").replaceChildren(...[...Object.keys(NAMES), "page"].filter((key) => answers.has(key)).map((key) => {
    const line = document.createElement("p");
    show(line, answers.get(key).text, answers.get(key).name);
    return line;
  }));
}

// On the press and not on the release: a thumb that slides off has stopped the robot all the same.
$("stop").addEventListener("pointerdown", stop);
$("stop").addEventListener("click", (event) => { if (event.detail === 0) stop(); });
$("enable").addEventListener("click", () => {
  owed = false;
  if (control.isOpen()) ask("enable", "enabling …");
});
document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement;
  if (event.repeat || !(event.key === "Escape" || (event.key === " " && !typing))) return;
  event.preventDefault();
  stop();
});

function instruct(text) {
  if (!control.isOpen()) return show($("sent"), "not sent: no connection", "bad");
  show($("sent"), "sending …", "quiet");
  control.send(JSON.stringify({ do: "instruct", text }));
}
$("form").addEventListener("submit", (event) => { event.preventDefault(); instruct($("text").value); });
$("clear").addEventListener("click", () => { $("text").value = ""; instruct(""); });

// Pictures.

const SOURCES = { o: "Overlay: what the model saw", c: "Camera: the model shows nothing now" };
let paintedAt = -Infinity;
const paints = [];

async function paint(blob) {
  try {
    const source = await blob.slice(0, 1).text();
    const image = await createImageBitmap(blob.slice(1));
    const canvas = $("picture");
    if (canvas.width !== image.width || canvas.height !== image.height) Object.assign(canvas, { width: image.width, height: image.height });
    canvas.getContext("2d").drawImage(image, 0, 0);
    image.close();
    show($("source"), SOURCES[source]);
    paintedAt = performance.now();
    paints.push(paintedAt);
    look();
  } finally {
    if (pictures.isOpen()) pictures.send("shown");
  }
}

// State in words.

const LEVELS = ["ok", "warn", "bad", "bad"];

function reason(id, party, extra) {
  if (party.silent) {
    const last = party.reason ? ` Its last word: ${party.reason}` : "";
    show($(`${id}-reason`), "SILENT", "reason bad");
    return show($(`${id}-words`), `Nothing has been heard of it for over 2 s.${last}`);
  }
  const [name, ...words] = party.reason.split(": ");
  const isIdle = ["INACTIVE", "NO_INSTRUCTION", "STOP_PHRASE", "DISABLED", "NO_COMMAND"].includes(name);
  show($(`${id}-reason`), name.replaceAll("_", " ") || "–", `reason ${isIdle ? "warn" : LEVELS[party.level]}`);
  show($(`${id}-words`), words.join(": ") + extra);
}

const SETTINGS = {
  max_velocity: "m/s, m/s, rad/s", min_velocity: "m/s, m/s, rad/s", max_accel: "m/s², m/s², rad/s²",
  max_decel: "m/s², m/s², rad/s²", deadband_velocity: "m/s, m/s, rad/s", command_rate: "Hz",
  image_timeout: "s", command_timeout: "s", state_timeout: "s", guard_timeout: "s",
};
const settingRows = Object.entries(SETTINGS).map(([name, unit]) => {
  const row = $("settings").insertRow();
  const head = row.appendChild(document.createElement("th"));
  head.textContent = name.replaceAll("_", " ");
  const cells = [row.insertCell(), row.insertCell()];
  show(row.insertCell(), unit, "unit");
  return { name, cells };
});

function settle(parameters) {
  for (const { name, cells } of settingRows) {
    const texts = ["inference", "velocity_guard"].map((node) => {
      const value = parameters[node]?.[name];
      return value === undefined || value === null ? "" : [value].flat().map((number) => Number(number.toFixed(3))).join(", ");
    });
    const differs = texts[0] && texts[1] && texts[0] !== texts[1];
    cells.forEach((cell, i) => show(cell, texts[i] || "–", differs ? "differs" : ""));
  }
}

// Plots.

const velocity = { lines: ["x m/s", "y m/s", "yaw rad/s"], unit: "", least: 0.3, signed: true };
const plots = {
  command: new Plot($("plots"), { title: "Command", ...velocity }),
  action: new Plot($("plots"), { title: "Action", ...velocity }),
  latency: new Plot($("plots"), { title: "Latency", unit: "ms", least: 50, digits: 0 }),
  age: new Plot($("plots"), { title: "Image age", unit: "ms", least: 200, digits: 0 }),
  memory: new Plot($("plots"), { title: "Memory", unit: "MB", least: 200, digits: 0 }),
};

function number(text) {
  const value = parseFloat(text);
  return Number.isFinite(value) ? value : null;
}

function plotOf(diagnostics, now) {
  const { values, silent } = diagnostics;
  const scaled = (name, factor) => (silent || number(values[name]) === null ? null : number(values[name]) * factor);
  plots.latency.add(now, [scaled("inference latency (s)", 1000)]);
  plots.age.add(now, [scaled("action age (s)", 1000)]);
  plots.memory.add(now, [scaled("process resident (MB)", 1)]);
}

function learn(news) {
  Object.assign(known, news);
  offset = known.now - performance.now() / 1000;
  for (const name of ["command", "action"]) {
    const fresh = known[name] && known.now - known[name][0] < COMMAND_STALE;
    if (news[name] || !fresh) plots[name].add(known.now, fresh ? known[name].slice(1) : [null, null, null]);
  }
  if (news.inference) plotOf(known.inference, known.now);
  reason("guard", known.guard, "");
  reason("inference", known.inference, known.state && known.state !== "active" ? ` (${known.state})` : "");
  if (news.parameters) settle(known.parameters);
  const instruction = known.inference.silent ? "" : known.inference.values.instruction ?? "";
  show($("instruction"), instruction);
  $("instruction").hidden = !instruction;
  $("none").hidden = !!instruction;
  show($("title"), known.namespace === "/" ? "Robot" : known.namespace.slice(1));
  document.title = `${$("guard-reason").textContent.toLowerCase()} – ${$("title").textContent}`;
}

// What has to be noticed although nothing comes.

function lostWords(silent) {
  return silent > 10000 ? "If the dashboard was started anew, open the address that it printed." : control.why || "";
}

function look() {
  const now = performance.now(), silent = now - heardAt;
  const isLost = silent > LOST;
  $("lost").hidden = !isLost;
  if (isLost) show($("lost"), `CONNECTION LOST for ${Math.round(silent / 1000)} s. The robot goes on as it was; this page cannot stop it. ${lostWords(silent)}`);
  show($("link"), isLost ? "not connected" : "connected", isLost ? "chip bad" : "chip good");
  // A connection that hangs is opened anew; the pictures' can only tell by the other one.
  if (isLost && now - control.since > 4000) [control, pictures].forEach((link) => link.drop());

  complain();

  while (paints.length && paints[0] < now - 2000) paints.shift();
  const isStale = now - paintedAt > STALE;
  $("picture").parentElement.classList.toggle("stale", isStale);
  $("nothing").hidden = !isStale;
  const ago = Number.isFinite(paintedAt) ? `no picture for ${Math.round((now - paintedAt) / 1000)} s` : "no picture yet";
  show($("nothing"), known.fault && isStale ? `${ago}: ${known.fault}` : ago);
  show($("pace"), isStale ? "" : `${(paints.length / 2).toFixed(0)} per s`);
}

setInterval(look, 250);
setInterval(() => Object.values(plots).forEach((plot) => plot.draw(performance.now() / 1000 + offset)), 200);
