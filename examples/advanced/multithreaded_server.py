"""Answer from worker threads, while the loop goes on.

    python examples/advanced/multithreaded_server.py
    curl http://127.0.0.1:8000/slow &
    curl http://127.0.0.1:8000/fast

The second answer comes first.  A worker gets the number of the connection and
hands its result to ``wakeup()``; the loop answers.
"""

from __future__ import annotations

import argparse
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from mongoose_py import Connection, Handler, HttpMessage, Manager

PAGE = """<!doctype html>
<title>Threads</title>
<p><a href="/fast">fast</a>, <a href="/slow">slow</a>
"""


class Server(Handler):
    def __init__(self, workers: ThreadPoolExecutor, sleep_time: float) -> None:
        self.workers = workers
        self.sleep_time = sleep_time  # seconds
        self.room = threading.Semaphore(100)  # for jobs that wait or are under way
        self.manager = Manager(self, enable_wakeup=True)

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """Answer at once, or leave it to a worker."""
        if message.uri == "/slow":
            if self.room.acquire(blocking=False):
                self.workers.submit(self.work, conn.id)
                return  # on_wakeup answers
            conn.reply(503, "too much to do\n")
        elif message.uri == "/fast":
            conn.reply(200, "fast\n")
        elif message.uri == "/":
            conn.reply(200, PAGE, {"Content-Type": "text/html; charset=utf-8"})
        else:
            conn.reply(404, "no such page\n")
        conn.drain()

    def work(self, number: int) -> None:
        """Take time, on a thread of its own."""
        time.sleep(self.sleep_time)
        self.room.release()
        self.manager.wakeup(number, f"slow, after {self.sleep_time:g} s\n")

    def on_wakeup(self, conn: Connection, data: bytes) -> None:
        """Answer with a worker's result; if the client has gone, this does not come."""
        conn.reply(200, data)
        conn.drain()


def main() -> None:
    parser = argparse.ArgumentParser(description="Answer from worker threads.")
    parser.add_argument("-l", "--listen", default="http://127.0.0.1:8000", metavar="URL")
    parser.add_argument("-t", "--sleep-time", type=float, default=2.0, metavar="SECONDS")
    args = parser.parse_args()
    with ThreadPoolExecutor(max_workers=8) as workers:
        server = Server(workers, args.sleep_time)
        with server.manager as manager:
            listener = manager.listen(args.listen)
            print(f"listening on {listener.url}/", flush=True)
            manager.run()
        workers.shutdown(wait=False, cancel_futures=True)
    print("stopped")


if __name__ == "__main__":
    main()
