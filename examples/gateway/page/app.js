// The page: messages in, cards out.
//
// The gateway sends "snapshot" (everything, when a page comes), "news" (the sensors that have
// new values; the rest whole, four times a second or as often as --tick says) and "refused"
// (a command it does not take).  Messages only change what is known; painting is done once
// per frame, and not at all while paused.

import { alarmWords, paintAges, paintCards } from "./cards.js";
import { paintActuators, paintDevices, paintSwitchAges } from "./controls.js";
import { connect } from "./live.js";
import { words } from "./words.js";

const REFUSED_FOR = 8000; // ms that a refusal is shown
const MOST = 64; // sensors; of more those heard of last are kept, as in the gateway

const el = (id) => document.getElementById(id);
const sensors = new Map(); // name -> {name, unit, via, low, high, alarm, recent: [[time, value]]}
let actuators = [];
let devices = [];
let keep = 120; // values kept per sensor, told by the snapshot
let stats = null; // the newest counters
let before = null; // those of a second ago or more
let paused = false;
let frame = 0;
const title = document.title;

const takers = {
  snapshot(message) {
    keep = message.keep;
    sensors.clear();
    for (const sensor of message.sensors) sensors.set(sensor.name, sensor);
    take(message);
    paintStats();
  },
  news(message) {
    for (const sensor of message.sensors) {
      const known = sensors.get(sensor.name);
      if (known) sensor.recent = known.recent.concat(sensor.recent).slice(-keep);
      sensors.set(sensor.name, sensor);
    }
    const silent = [...sensors.values()].sort((one, other) => one.seen - other.seen);
    for (const { name } of silent.slice(0, Math.max(0, silent.length - MOST))) sensors.delete(name);
    take(message);
  },
  refused({ why }) {
    el("refused").textContent = why;
    clearTimeout(takers.forgetting);
    takers.forgetting = setTimeout(() => (el("refused").textContent = ""), REFUSED_FOR);
  },
};

function take(message) {
  ({ actuators, devices, stats } = message);
  paintSoon();
}

// A status region speaks whenever its text changes, so change it only then.
function setLink(state) {
  const link = el("link");
  if (link.dataset.state === state) return;
  link.dataset.state = state;
  link.textContent = state === "live" ? "Live" : "Connection lost, trying again";
  document.body.classList.toggle("lost", state === "lost");
}

function paintSoon() {
  if (!paused && !frame) frame = requestAnimationFrame(paint);
}

function paint() {
  frame = 0;
  paintCards(sensors);
  paintActuators(actuators);
  paintAlarms();
  if (el("empty").hidden && sensors.size === 0) el("help").open = true;
  el("empty").hidden = sensors.size > 0;
}

// The list of alarms is read out when it changes, not with every value.
function paintAlarms() {
  const alarms = [...sensors.values()].filter(({ alarm }) => alarm);
  const texts = alarms.map((sensor) => `${sensor.name} is ${alarmWords(sensor)}`).sort();
  const known = [...el("alarms").children].map((item) => item.textContent);
  document.title = alarms.length ? `(${alarms.length}) ${title}` : title;
  if (texts.join("\n") === known.join("\n")) return;
  el("alarms").replaceChildren(
    ...texts.map((text) => {
      const link = Object.assign(document.createElement("a"), { textContent: text });
      link.href = `#sensor-${text.split(" ")[0]}`;
      const item = document.createElement("li");
      item.append(link);
      return item;
    }),
  );
}

function paintStats() {
  const passed = before ? stats.uptime - before.uptime : 0;
  if (passed > 0) el("n-rate").textContent = words((stats.accepted - before.accepted) / passed, 1);
  if (passed >= 1 || passed <= 0) before = stats;
  el("n-sensors").textContent = words(sensors.size, 0);
  el("n-accepted").textContent = words(stats.accepted, 0);
  el("n-rejected").textContent = words(stats.rejected, 0);
  el("rejected").hidden = !stats.last_error;
  el("last-error").textContent = stats.last_error;
  const at = (way) => /^\w+:\/\/\[?(.*?)\]?:(\d+)$/.exec(stats.listening[way]).slice(1);
  for (const way of ["udp", "tcp"]) el(way).textContent = at(way).join("/");
  const [host, port] = at("mqtt");
  el("mqtt").textContent = `-h ${host} -p ${port}`;
}

el("pause").addEventListener("click", () => {
  paused = !paused;
  el("pause").textContent = paused ? "Resume" : "Pause";
  el("pause").classList.toggle("paused", paused);
  paintSoon();
});

setInterval(() => {
  if (stats) paintStats();
  if (paused) return;
  paintAges();
  paintSwitchAges();
  paintDevices(devices);
}, 1000);

connect((message) => takers[message.type](message), setLink);
