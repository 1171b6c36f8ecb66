// The dashboard page: shows state (/control) and images (/pictures), sends requests. All text is set by textContent.

import { Plot } from "./plot.js";

const $ = (id) => document.getElementById(id);
const LOST = 1500; // ms without a message, which come ten times a second
const STALE = 2000; // ms without an image; switching from the overlay to the camera takes more than one second
const RETRY = 700; // ms
const COMMAND_STALE = 0.5; // s

function show(element, text, name) {
  if (element.textContent !== text) element.textContent = text;
  if (name !== undefined && element.className !== name) element.className = name;
}

// Two websockets, each reconnected by itself: a stalled image must not delay a stop.

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

const state = {}; // the newest value of each topic
let lastMessageAt = performance.now();
let offset = 0; // from this page's clock to the dashboard's, in s
let isStopPending = false; // a stop that could not be sent yet
let request = null; // the unanswered request to the guard, and its time

const control = connect("/control", (text) => {
  const message = JSON.parse(text);
  lastMessageAt = performance.now();
  if (message.news) update(message.news);
  else if (message.answer) onAnswer(message.answer);
  else if (message.sent !== undefined) show($("sent"), message.sent.trim() ? "sent" : "cleared: the robot slows down and stands", "quiet");
  else if (message.refused) show($("sent"), message.refused, "bad");
}, () => {
  // A request that was sent on the broken connection may be lost.
  if (isStopPending || request?.what === "stop") stop();
});

const pictures = connect("/pictures", paint);

// Stop and enable.

const answers = new Map();
const ANSWER_TIMEOUT = 1200; // ms; if only the guard does not answer, the dashboard reports that sooner

function stop() {
  if (!control.isOpen()) {
    isStopPending = true;
    answers.clear();
    answers.set("page", { name: "bad", text: "NOT SENT: no connection. Use the robot's own stop. It is sent as soon as the connection is back." });
    return showAnswers();
  }
  isStopPending = false;
  send("stop", "stopping …");
}

function send(what, words) {
  answers.clear();
  answers.set("page", { name: "quiet", text: words });
  showAnswers();
  request = { what, at: performance.now() };
  control.send(JSON.stringify({ do: what }));
}

function checkAnswerTimeout() {
  if (!request || request.isOverdue || performance.now() - request.at < ANSWER_TIMEOUT || !answers.has("page") || isStopPending) return;
  request.isOverdue = true;
  answers.set("page", { name: "bad", text: `THE DASHBOARD DOES NOT ANSWER.${request.what === "stop" ? " Use the robot's own stop." : ""}` });
  showAnswers();
}

const NAMES = { velocity_guard: "guard", inference: "inference" };

function onAnswer({ node, enabled, attempt, is_there, success, text, seconds }) {
  answers.delete("page");
  if (node === "velocity_guard") request = null;
  const name = NAMES[node];
  if (text !== undefined) {
    answers.set(node, { name: success ? "good" : "bad", text: `${name}: ${text} (${Math.round(seconds * 1000)} ms)` });
  } else {
    const why = is_there ? "DOES NOT ANSWER" : "is not there";
    const times = attempt > 1 ? `, asked ${attempt} times` : "";
    // A robot may drive without this inference node, but not without a guard.
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

// On press and not on release, so that a thumb that slides off the button also stops the robot.
$("stop").addEventListener("pointerdown", stop);
$("stop").addEventListener("click", (event) => { if (event.detail === 0) stop(); });
$("enable").addEventListener("click", () => {
  isStopPending = false;
  if (control.isOpen()) send("enable", "enabling …");
});
document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement;
  if (event.repeat || !(event.key === "Escape" || (event.key === " " && !typing))) return;
  event.preventDefault();
  stop();
});

function sendInstruction(text) {
  if (!control.isOpen()) return show($("sent"), "not sent: no connection", "bad");
  show($("sent"), "sending …", "quiet");
  control.send(JSON.stringify({ do: "instruct", text }));
}
$("form").addEventListener("submit", (event) => { event.preventDefault(); sendInstruction($("text").value); });
$("clear").addEventListener("click", () => { $("text").value = ""; sendInstruction(""); });

// Images.

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
    refresh();
  } finally {
    if (pictures.isOpen()) pictures.send("shown");
  }
}

// State as text.

const LEVELS = ["ok", "warn", "bad", "bad"];

function showReason(id, node, extra) {
  if (node.silent) {
    const last = node.reason ? ` Its last word: ${node.reason}` : "";
    show($(`${id}-reason`), "SILENT", "reason bad");
    return show($(`${id}-words`), `Nothing has been heard of it for over 2 s.${last}`);
  }
  const [name, ...words] = node.reason.split(": ");
  const isIdle = ["INACTIVE", "NO_INSTRUCTION", "STOP_PHRASE", "DISABLED", "NO_COMMAND"].includes(name);
  show($(`${id}-reason`), name.replaceAll("_", " ") || "–", `reason ${isIdle ? "warn" : LEVELS[node.level]}`);
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

function showSettings(parameters) {
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

function plotDiagnostics(diagnostics, now) {
  const { values, silent } = diagnostics;
  const scaled = (name, factor) => (silent || number(values[name]) === null ? null : number(values[name]) * factor);
  plots.latency.add(now, [scaled("inference latency (s)", 1000)]);
  plots.age.add(now, [scaled("action age (s)", 1000)]);
  plots.memory.add(now, [scaled("process resident (MB)", 1)]);
}

function update(news) {
  Object.assign(state, news);
  offset = state.now - performance.now() / 1000;
  for (const name of ["command", "action"]) {
    const fresh = state[name] && state.now - state[name][0] < COMMAND_STALE;
    if (news[name] || !fresh) plots[name].add(state.now, fresh ? state[name].slice(1) : [null, null, null]);
  }
  if (news.inference) plotDiagnostics(state.inference, state.now);
  showReason("guard", state.guard, "");
  showReason("inference", state.inference, state.state && state.state !== "active" ? ` (${state.state})` : "");
  if (news.parameters) showSettings(state.parameters);
  const instruction = state.inference.silent ? "" : state.inference.values.instruction ?? "";
  show($("instruction"), instruction);
  $("instruction").hidden = !instruction;
  $("none").hidden = !!instruction;
  show($("title"), state.namespace === "/" ? "Robot" : state.namespace.slice(1));
  document.title = `${$("guard-reason").textContent.toLowerCase()} – ${$("title").textContent}`;
}

// Timeouts: what must be shown although no message comes.

function lostWords(silent) {
  return silent > 10000 ? "If the dashboard was started anew, open the address that it printed." : control.why || "";
}

function refresh() {
  const now = performance.now(), silent = now - lastMessageAt;
  const isLost = silent > LOST;
  $("lost").hidden = !isLost;
  if (isLost) show($("lost"), `CONNECTION LOST for ${Math.round(silent / 1000)} s. The robot goes on as it was; this page cannot stop it. ${lostWords(silent)}`);
  show($("link"), isLost ? "not connected" : "connected", isLost ? "chip bad" : "chip good");
  // A hanging connection is opened again. That the images' connection hangs can be seen on the other one only.
  if (isLost && now - control.since > 4000) [control, pictures].forEach((link) => link.drop());

  checkAnswerTimeout();

  while (paints.length && paints[0] < now - 2000) paints.shift();
  const isStale = now - paintedAt > STALE;
  $("picture").parentElement.classList.toggle("stale", isStale);
  $("nothing").hidden = !isStale;
  const ago = Number.isFinite(paintedAt) ? `no picture for ${Math.round((now - paintedAt) / 1000)} s` : "no picture yet";
  show($("nothing"), state.fault && isStale ? `${ago}: ${state.fault}` : ago);
  show($("pace"), isStale ? "" : `${(paints.length / 2).toFixed(0)} per s`);
}

setInterval(refresh, 250);
setInterval(() => Object.values(plots).forEach((plot) => plot.draw(performance.now() / 1000 + offset)), 200);
