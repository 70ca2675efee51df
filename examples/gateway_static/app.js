// The live view: events in, cards out.
//
// The gateway sends three events: "snapshot" (everything, whenever a stream
// begins or readings were missed), "readings" (what is new) and "stats" (once a
// second, so silence means trouble).  Events only change `sensors`; painting is
// done once per frame, and not at all while paused.

"use strict";

const SILENT_AFTER = 5000; // ms without stats: this stream is dead, whatever the browser says

const el = (id) => document.getElementById(id);
const sensors = new Map(); // name -> {name, unit, via, count, recent: [[time, value], ...]}
const cards = new Map(); // name -> {node, sensor: as painted, point: under the cursor or null}
let stream = null;
let keep = 120; // values kept per sensor, told by the snapshot
let clockSkew = 0; // gateway's clock minus ours, ms
let lastHeard = Date.now(); // our clock
let lastStats = null;
let paused = false;
let frame = 0;

// ---- the stream -------------------------------------------------------------

function connect() {
  if (stream) stream.close();
  stream = new EventSource("/events");
  stream.addEventListener("snapshot", (event) => {
    const news = heard(event);
    keep = news.keep;
    sensors.clear();
    for (const sensor of news.sensors) sensors.set(sensor.name, sensor);
    paintSoon();
  });
  stream.addEventListener("readings", (event) => {
    for (const sensor of heard(event).sensors) {
      const known = sensors.get(sensor.name);
      if (known) sensor.recent = known.recent.concat(sensor.recent).slice(-keep);
      sensors.set(sensor.name, sensor);
    }
    paintSoon();
  });
  stream.addEventListener("stats", (event) => paintStats(heard(event)));
  stream.addEventListener("error", () => setLink("lost", "Connection lost, trying again"));
}

function heard(event) {
  const data = JSON.parse(event.data);
  lastHeard = Date.now();
  clockSkew = data.now - lastHeard;
  setLink("live", "Live");
  return data;
}

// A status region speaks whenever its text changes, so change it only then.
function setLink(state, text) {
  const link = el("link");
  if (link.dataset.state === state) return;
  link.dataset.state = state;
  link.textContent = text;
}

// ---- words ------------------------------------------------------------------

// As many decimals as the sensor itself sends, so that the text keeps its width.
function decimals(recent) {
  let most = 0;
  for (const [, value] of recent) {
    const [, fraction = ""] = String(value).split(".");
    most = Math.max(most, fraction.includes("e") ? 0 : fraction.length);
  }
  return Math.min(most, 3);
}

function words(value, places) {
  const size = Math.abs(value);
  if (size >= 1e9 || (size > 0 && size < 1e-3)) return value.toExponential(2);
  return value.toLocaleString("en", {
    minimumFractionDigits: places,
    maximumFractionDigits: places,
  });
}

function age(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 2) return "just now";
  if (s < 90) return `${s} s ago`;
  return `${Math.round(s / 60)} min ago`;
}

function span(ms) {
  const s = Math.ceil(ms / 1000);
  return s < 90 ? `${s} s` : `${Math.round(s / 60)} min`;
}

// ---- painting ---------------------------------------------------------------

function paintSoon() {
  if (!paused && !frame) frame = requestAnimationFrame(paint);
}

function paint() {
  frame = 0;
  for (const name of cards.keys()) if (!sensors.has(name)) dropCard(name);
  for (const sensor of sensors.values()) {
    paintCard(cards.get(sensor.name) || addCard(sensor.name), sensor);
  }
  if (el("empty").hidden && sensors.size === 0) el("help").open = true;
  el("empty").hidden = sensors.size > 0;
}

function addCard(name) {
  const node = el("card").content.firstElementChild.cloneNode(true);
  const card = { node, sensor: null, point: null };
  node.dataset.name = name;
  node.querySelector("h3").textContent = name;
  const plot = node.querySelector(".plot");
  plot.setAttribute("aria-label", `History of ${name}`);
  plot.addEventListener("pointermove", (event) => pointAt(card, event));
  plot.addEventListener("pointerleave", () => look(card, null));
  plot.addEventListener("keydown", (event) => step(card, event));
  plot.addEventListener("blur", () => look(card, null));
  const after = [...cards.keys()].filter((other) => other > name).sort()[0];
  el("sensors").insertBefore(node, after === undefined ? null : cards.get(after).node);
  cards.set(name, card);
  return card;
}

function dropCard(name) {
  cards.get(name).node.remove();
  cards.delete(name);
}

function paintCard(card, sensor) {
  card.sensor = sensor;
  const { node } = card;
  const { recent, unit } = sensor;
  const places = decimals(recent);
  const last = recent.length - 1;
  const at = shownIndex(card);
  const [time, value] = recent[at];
  const scale = scaleOf(recent);
  const put = (selector, text) => {
    node.querySelector(selector).textContent = text;
  };

  put(".via", sensor.via.toUpperCase());
  put(".value", words(value, places));
  put(".unit", unit);
  const [high, low] = [words(scale.high, places), words(scale.low, places)];
  put(".high", high);
  put(".low", high === low ? "" : low);
  node.classList.toggle("long", Math.max(high.length, low.length) + unit.length > 10);
  put(".span", last > 0 ? `last ${span(scale.width)}` : "one value so far");
  paintSeen(card);

  const points = recent.map((point) => scale.place(point).map((n) => n.toFixed(2)).join(" "));
  const path = last > 0 ? `M${points.join("L")}` : "";
  node.querySelector(".line").setAttribute("d", path);
  node.querySelector(".area").setAttribute("d", path && `${path}V100H0Z`);

  const [x, y] = scale.place(recent[at]);
  const dot = node.querySelector(".dot");
  dot.hidden = last === 0;
  dot.style.left = `${x}%`;
  dot.style.top = `${y}%`;

  const plot = node.querySelector(".plot");
  plot.setAttribute("aria-valuemax", last);
  plot.setAttribute("aria-valuenow", at);
  plot.setAttribute(
    "aria-valuetext",
    `${words(value, places)} ${unit}, ${age(Date.now() + clockSkew - time)}`,
  );
}

// Where a point stands in the plot, in per cent from the top left.  The clock
// of the gateway may have been set back between two values.
function scaleOf(recent) {
  const times = recent.map(([time]) => time);
  const values = recent.map(([, value]) => value);
  const begin = Math.min(...times);
  const width = Math.max(...times) - begin || 1;
  const low = Math.min(...values);
  const high = Math.max(...values);
  const place = ([time, value]) => [
    (100 * (time - begin)) / width,
    high > low ? 92 - (84 * (value - low)) / (high - low) : 50,
  ];
  return { low, high, begin, width, place };
}

// A sensor is silent when it has missed three of its own usual turns.
function paintSeen(card) {
  const { recent } = card.sensor;
  const last = recent.length - 1;
  const now = Date.now() + clockSkew;
  const usual = last > 0 ? (recent[last][0] - recent[0][0]) / last : 10000;
  card.node.querySelector(".seen").textContent = age(now - recent[shownIndex(card)][0]);
  card.node.classList.toggle("silent", now - recent[last][0] > Math.max(5000, 3 * usual));
}

function paintStats(stats) {
  const passed = lastStats && stats.uptime - lastStats.uptime;
  if (passed > 0) {
    el("n-rate").textContent = words((stats.accepted - lastStats.accepted) / passed, 1);
  }
  lastStats = stats;
  el("n-sensors").textContent = words(stats.sensors, 0);
  el("n-accepted").textContent = words(stats.accepted, 0);
  el("n-rejected").textContent = words(stats.rejected, 0);
  el("rejected").hidden = !stats.last_error;
  el("last-error").textContent = stats.last_error;
  for (const via of ["udp", "tcp"]) el(via).textContent = stats.listening[via].replace(/:(\d+)$/, "/$1");
}

// ---- looking back: a pointer over the chart, or the arrow keys --------------

// The cursor holds on to a point: the values wander to the left under it.  A
// snapshot brings new points, so there the time decides.
function shownIndex(card) {
  const { recent } = card.sensor;
  if (card.point === null) return recent.length - 1;
  const at = recent.indexOf(card.point);
  return at >= 0 ? at : nearest(recent, card.point[0]);
}

function nearest(recent, time) {
  let best = 0;
  recent.forEach(([t], i) => {
    if (Math.abs(t - time) < Math.abs(recent[best][0] - time)) best = i;
  });
  return best;
}

function look(card, point) {
  card.point = point;
  paintCard(card, card.sensor);
}

function pointAt(card, event) {
  const { recent } = card.sensor;
  const { begin, width } = scaleOf(recent);
  const box = event.currentTarget.getBoundingClientRect();
  look(card, recent[nearest(recent, begin + (width * (event.clientX - box.left)) / box.width)]);
}

function step(card, event) {
  const { recent } = card.sensor;
  const last = recent.length - 1;
  const at = shownIndex(card);
  const moves = { ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1,
    Home: 0, End: last, Escape: last };
  const to = moves[event.key];
  if (to === undefined) return;
  event.preventDefault();
  look(card, to >= last ? null : recent[Math.max(0, to)]);
}

// ---- begin ------------------------------------------------------------------

el("pause").addEventListener("click", () => {
  paused = !paused;
  el("pause").textContent = paused ? "Resume" : "Pause";
  el("pause").classList.toggle("paused", paused);
  paintSoon();
});

setInterval(() => {
  if (Date.now() - lastHeard > SILENT_AFTER) {
    lastHeard = Date.now();
    setLink("lost", "Connection lost, trying again");
    connect();
  }
  if (!paused) for (const card of cards.values()) paintSeen(card);
}, 1000);

connect();
