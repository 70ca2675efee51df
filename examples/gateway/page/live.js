// The WebSocket to the gateway: messages in, commands out, and again when it breaks.
//
// Every event tells the gateway's time, and "news" come even when there are none, so silence
// means trouble whatever the browser says.

const SILENT_AFTER = 5000; // ms
const AGAIN_AFTER = 1000; // ms, and up to as much again: not all pages at once

let socket = null;
let clockSkew = 0; // gateway's clock minus ours, ms
let lastHeard = 0; // our clock
let begun = 0; // our clock
let tell = null;

// Call heard(message) for each message and link(state) when it is "live" or "lost".
export function connect(heard, link) {
  tell = { heard, link };
  open();
  setInterval(() => {
    if (Date.now() - Math.max(lastHeard, begun) > SILENT_AFTER) lost();
  }, 1000);
}

// Send a command, or say that there is nobody to send it to.
export function send(...words) {
  const open = socket.readyState === WebSocket.OPEN;
  if (open) socket.send(words.join(" "));
  else tell.heard({ type: "refused", why: "There is no connection to the gateway." });
  return open;
}

// The gateway's time, ms.
export const now = () => Date.now() + clockSkew;

function open() {
  begun = Date.now();
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`);
  socket.addEventListener("message", (event) => {
    const message = JSON.parse(event.data);
    lastHeard = Date.now();
    if (message.now) clockSkew = message.now - lastHeard;
    tell.link("live");
    tell.heard(message);
  });
  socket.addEventListener("close", lost);
}

function lost() {
  tell.link("lost");
  begun = Date.now() + 2 * AGAIN_AFTER; // time to connect before we complain again
  socket.removeEventListener("close", lost); // one of them is enough
  socket.close();
  setTimeout(open, AGAIN_AFTER * (1 + Math.random()));
}
