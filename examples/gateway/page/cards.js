// The sensors: a card for each, with its chart and the limits of its alarm.

import { now, send } from "./live.js";
import { age, decimals, span, words } from "./words.js";

// name -> {node, sensor: as painted, point: under the cursor or null}
const cards = new Map();

// Paint the cards of sensors, name -> sensor, and no others.
export function paintCards(sensors) {
  for (const [name, card] of cards) {
    if (sensors.has(name)) continue;
    card.node.remove();
    cards.delete(name);
  }
  for (const sensor of sensors.values()) {
    paintCard(cards.get(sensor.name) || addCard(sensor.name), sensor);
  }
}

export function paintAges() {
  for (const card of cards.values()) paintSeen(card);
}

// What is wrong with the newest value, in words; "" when nothing is.
export function alarmWords({ alarm, low, high }) {
  if (!alarm) return "";
  return alarm === "low" ? `below ${words(low)}` : `above ${words(high)}`;
}

function addCard(name) {
  const node = document.getElementById("card").content.firstElementChild.cloneNode(true);
  const card = { node, sensor: null, point: null };
  node.dataset.name = name;
  node.id = `sensor-${name}`;
  node.querySelector("h3").textContent = name;
  const plot = node.querySelector(".plot");
  plot.setAttribute("aria-label", `History of ${name}`);
  plot.addEventListener("pointermove", (event) => pointAt(card, event));
  plot.addEventListener("pointerleave", () => look(card, null));
  plot.addEventListener("keydown", (event) => step(card, event));
  plot.addEventListener("blur", () => look(card, null));
  const limits = node.querySelector(".limits");
  limits.addEventListener("toggle", () => fillLimits(card));
  limits.addEventListener("input", () => checkLimits(node));
  limits.querySelector("form").addEventListener("submit", (event) => setLimits(card, event));
  const csv = node.querySelector(".csv");
  csv.href = `/csv/${encodeURIComponent(name)}`;
  csv.setAttribute("aria-label", `CSV of ${name}`);
  const after = [...cards.keys()].filter((other) => other > name).sort()[0];
  const next = after === undefined ? null : cards.get(after).node;
  document.getElementById("sensors").insertBefore(node, next);
  cards.set(name, card);
  return card;
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
  paintAlarm(card);

  const points = recent.map((point) => scale.place(point).map((n) => n.toFixed(2)).join(" "));
  const path = last > 0 ? `M${points.join("L")}` : "";
  node.querySelector(".line").setAttribute("d", path);
  node.querySelector(".area").setAttribute("d", path && `${path}V100H0Z`);

  for (const side of ["low", "high"]) {
    const limit = sensor[side];
    const height = limit === null ? -1 : scale.place([scale.begin, limit])[1];
    const seen = last > 0 && height >= 0 && height <= 100;
    node.querySelector(`.limit-${side}`).setAttribute("d", seen ? `M0 ${height}H100` : "");
  }

  const [x, y] = scale.place(recent[at]);
  const dot = node.querySelector(".dot");
  dot.hidden = false;
  dot.style.left = `${last > 0 ? x : 100}%`;
  dot.style.top = `${y}%`;

  const plot = node.querySelector(".plot");
  plot.setAttribute("aria-valuemax", last);
  plot.setAttribute("aria-valuenow", at);
  plot.setAttribute(
    "aria-valuetext",
    `${words(value, places)} ${unit}, ${age(now() - time)}`,
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
    high > low ? 92 - (84 * (value - low)) / (high - low) : value === low ? 50 : -1,
  ];
  return { low, high, begin, width, place };
}

// A sensor is silent when it has missed three of its own usual turns.
function paintSeen(card) {
  const { recent } = card.sensor;
  const newest = recent.slice(-10).map(([time]) => time);
  const last = newest[newest.length - 1];
  const usual = newest.length > 1 ? (last - newest[0]) / (newest.length - 1) : 10000;
  card.node.querySelector(".seen").textContent = age(now() - recent[shownIndex(card)][0]);
  card.node.classList.toggle("silent", now() - last > Math.max(5000, 3 * usual));
}

// ---- the limits of the alarm ------------------------------------------------

function paintAlarm({ node, sensor }) {
  const wrong = alarmWords(sensor);
  const alarm = node.querySelector(".alarm");
  node.classList.toggle("alarming", wrong !== "");
  alarm.hidden = wrong === "";
  alarm.textContent = wrong && wrong[0].toUpperCase() + wrong.slice(1);
  const { low, high } = sensor;
  const set = [];
  if (low !== null) set.push(`below ${words(low)}`);
  if (high !== null) set.push(`above ${words(high)}`);
  node.querySelector("summary").textContent = `Alarm ${set.join(", ") || "off"}`;
}

// What the gateway knows, whenever the form is opened: it is not touched while in use.
function fillLimits({ node, sensor }) {
  for (const side of ["low", "high"]) {
    node.querySelector(`[name=${side}]`).value = sensor[side] === null ? "" : sensor[side];
  }
  checkLimits(node);
}

function checkLimits(node) {
  const [low, high] = ["low", "high"].map((side) => node.querySelector(`[name=${side}]`));
  const crossed = low.value !== "" && high.value !== "" && Number(low.value) > Number(high.value);
  high.setCustomValidity(crossed ? "This has to be more than the lower limit." : "");
  return [low, high];
}

function setLimits({ node, sensor }, event) {
  event.preventDefault();
  const [low, high] = checkLimits(node); // the browser lets nothing through that is not valid
  if (!send("alarm", sensor.name, low.value || "-", high.value || "-")) return;
  node.querySelector(".limits").open = false;
  node.querySelector("summary").focus();
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
