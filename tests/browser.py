"""A headless Chromium to look at pages with, over its debugging pipe.

Chromium reads commands on descriptor 3 and writes answers and events on
descriptor 4: JSON texts, each ended by a NUL (the DevTools protocol).  So no
port has to be found and no WebSocket client is needed.  Waiting is done in the
page, by a MutationObserver, and never by looking again and again.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--remote-debugging-pipe",
    "about:blank",
]

# Puts the two pipe ends at 3 and 4 and becomes Chromium.  They go to high
# numbers first, for one of them may be 3 or 4 already.
LAUNCH = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3]]
for want, end in zip((3, 4), ends):
    os.dup2(end, want)
    os.close(end)
os.execv(sys.argv[3], sys.argv[3:])
"""

# Resolves once the expression is true; the page's changes make it look again.
WAIT = """
new Promise((done) => {
  const look = () => { if (%s) { observer.disconnect(); done(true); } };
  const observer = new MutationObserver(look);
  observer.observe(document, {
    subtree: true, childList: true, characterData: true, attributes: true });
  look();
})
"""


def find_chromium() -> str | None:
    """Return the path of an installed Chromium or Chrome, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for path in map(shutil.which, names) if path), None)


class Page:
    """One page: commands, expressions, and what it complained about."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._session: str | None = None
        self._number = 0
        self._unread = b""
        self.complaints: list[str] = []  # console errors, uncaught exceptions, failed loads
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, *, timeout: float = 30.0, **params: object) -> dict[str, Any]:
        """Send one command and return its result; seconds until TimeoutError."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            command["sessionId"] = self._session
        os.write(self._to, json.dumps(command).encode() + b"\0")
        deadline = time.monotonic() + timeout
        while True:
            message = self._receive(deadline, method)
            if message.get("id") == self._number:
                assert "error" not in message, (method, message["error"])
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def open(self, url: str) -> None:
        """Go to *url*; use wait_for() to see it arrive."""
        result = self.call("Page.navigate", url=url)
        assert "errorText" not in result, (url, result["errorText"])

    def evaluate(self, expression: str, *, timeout: float = 30.0) -> Any:
        """Return the value of a JavaScript expression; a promise is awaited."""
        answer = self.call(
            "Runtime.evaluate",
            timeout=timeout,
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in answer, (expression, answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait_for(self, expression: str, *, timeout: float = 30.0) -> None:
        """Return when the JavaScript expression is true; seconds until TimeoutError."""
        self.evaluate(WAIT % expression, timeout=timeout)

    def press(self, key: str) -> None:
        """Press and let go of a key, named as in KeyboardEvent.key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def _receive(self, deadline: float, what: str) -> dict[str, Any]:
        while b"\0" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._from], [], [], left)[0]:
                raise TimeoutError(f"no answer from Chromium: {what}; {self.complaints}")
            piece = os.read(self._from, 65536)
            assert piece, "Chromium has gone"
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url')}")
        elif message.get("method") == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.complaints.append(json.dumps(params["args"]))


@contextmanager
def browser_page(executable: str, profile: Path, *flags: str) -> Iterator[Page]:
    """Run Chromium with an empty *profile* folder, and *flags*, and give its one page."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    launch = [sys.executable, "-c", LAUNCH, str(theirs_in), str(theirs_out)]
    process = subprocess.Popen(
        [*launch, executable, f"--user-data-dir={profile}", *flags, *FLAGS],
        pass_fds=(theirs_in, theirs_out),
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Page(ours_out, ours_in)
    finally:
        os.close(ours_out)
        os.close(ours_in)  # its end of the pipe tells Chromium to leave
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
