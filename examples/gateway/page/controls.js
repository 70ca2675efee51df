// The actuators, with a switch for each, and the table of devices.

import { now, send } from "./live.js";
import { age, words } from "./words.js";

const switches = new Map(); // name -> {node, actuator}

export function paintActuators(actuators) {
  for (const [name, { node }] of switches) {
    if (actuators.some((actuator) => actuator.name === name)) continue;
    node.remove();
    switches.delete(name);
  }
  for (const actuator of actuators) {
    const known = switches.get(actuator.name) || addSwitch(actuator.name);
    known.actuator = actuator;
    paintSwitch(known);
  }
  document.getElementById("control").hidden = actuators.length === 0;
}

function addSwitch(name) {
  const node = document.getElementById("switch").content.firstElementChild.cloneNode(true);
  const known = { node, actuator: null };
  node.dataset.name = name;
  node.querySelector("h3").textContent = name;
  const button = node.querySelector("button");
  button.setAttribute("aria-label", name);
  button.addEventListener("click", () => {
    send("switch", name, isOn(known.actuator) ? "off" : "on");
  });
  document.getElementById("actuators").append(node);
  switches.set(name, known);
  return known;
}

// The switch stands as it was asked to; what the device says is beside it.
const isOn = ({ asked, state }) => (asked || state) === "on";

function paintSwitch({ node, actuator }) {
  const { asked, asked_at, state, state_at } = actuator;
  const put = (selector, text) => {
    const part = node.querySelector(selector);
    if (part.textContent !== text) part.textContent = text; // a status region speaks when changed
  };
  const waits = asked && asked !== state;
  node.dataset.state = state === "offline" ? "offline" : waits ? "waits" : state;
  node.querySelector("button").setAttribute("aria-checked", isOn(actuator));
  if (state === "offline") put(".now", "Offline");
  else if (waits) put(".now", `Switching ${asked} …`);
  else put(".now", state === "on" ? "On" : "Off");
  const since = `${age(now() - asked_at)}${waits ? ", waiting" : ""}`;
  put(".asked", asked ? `${asked}, ${since}` : "nothing yet");
  put(".said", `${state}, ${age(now() - state_at)}`);
}

export function paintSwitchAges() {
  for (const known of switches.values()) paintSwitch(known);
}

export function paintDevices(devices) {
  const rows = devices.map(({ name, count, seen }) => {
    const [via, ...who] = name.split(" ");
    const row = document.createElement("tr");
    row.dataset.name = name;
    for (const text of [who.join(" "), via.toUpperCase(), words(count, 0), age(now() - seen)]) {
      row.append(Object.assign(document.createElement("td"), { textContent: text }));
    }
    return row;
  });
  document.getElementById("devices").replaceChildren(...rows);
  document.getElementById("known").hidden = rows.length === 0;
}
