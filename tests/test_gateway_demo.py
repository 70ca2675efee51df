"""The demo, as people meet it: started by one command, seen in a browser.

The tests of the page need Chromium and are skipped where there is none.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Page, browser_page, find_chromium
from programs import DEADLINE, Gateway, Program, Stream, load_example

SENSORS = {
    "cellar.co2": "tcp",
    "garden.wind": "udp",
    "greenhouse.humidity": "udp",
    "greenhouse.temperature": "udp",
    "roof.solar": "tcp",
    "tank.level": "tcp",
}
store = load_example("gateway_store")
CHROMIUM = find_chromium()
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture
def demo() -> Iterator[Gateway]:
    """Run the gateway with its sensors; Ctrl-C must end both."""
    with Program("gateway.py", "--demo", "--port", "0", "--http-port", "0") as program:
        gateway = Gateway(program)
        yield gateway
        gateway.api("stats")
        program.stop()  # sees the end of the output, which the sensors share


@pytest.fixture
def page(demo: Gateway, tmp_path: Path) -> Iterator[Page]:
    """Show the demo's page, with all sensors on it; it must not complain."""
    assert CHROMIUM is not None
    with browser_page(CHROMIUM, tmp_path / "profile") as page:
        page.open(f"http://127.0.0.1:{demo.http_port}/")
        page.wait_for(f"document.querySelectorAll('.card').length === {len(SENSORS)}")
        yield page
        assert page.complaints == []


def card(name: str, part: str) -> str:
    """Return JavaScript for the text of one part of a sensor's card."""
    return f"""(document.querySelector('[data-name="{name}"] {part}') || {{}}).textContent"""


def test_the_demo_plays_sensors_by_udp_and_tcp(demo: Gateway) -> None:
    with Stream(demo) as stream:
        stream.until("stats", "sensors", len(SENSORS))
    assert {one["name"]: one["via"] for one in demo.api("sensors")} == SENSORS


def test_the_sensors_send_at_once_and_what_the_gateway_documents() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(type=socket.SOCK_DGRAM) as udp,
    ):
        udp.bind(("127.0.0.1", 0))
        tcp.settimeout(DEADLINE)
        udp.settimeout(DEADLINE)
        addresses = [f"127.0.0.1:{taken.getsockname()[1]}" for taken in (udp, tcp)]
        with Program("sensors.py", "--udp", addresses[0], "--tcp", addresses[1]) as program:
            connection = tcp.accept()[0]
            with connection, connection.makefile("rb") as lines:
                came = {"udp": udp.recv(1000), "tcp": lines.readline()}
                for via, line in came.items():
                    assert SENSORS[store.parse_line(line).name] == via
                program.stop()  # while it is connected


def test_the_sensors_connect_again_when_the_gateway_comes_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        tcp.settimeout(DEADLINE)
        address = f"127.0.0.1:{tcp.getsockname()[1]}"
        with Program("sensors.py", "--udp", address, "--tcp", address) as program:
            tcp.accept()[0].close()
            with tcp.accept()[0] as again:
                assert again.recv(1)
                program.stop()


def test_the_sensors_stop_when_the_gateway_stays_away() -> None:
    with socket.socket() as nobody, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for taken in (nobody, udp):
            taken.bind(("127.0.0.1", 0))  # and never listened on
        addresses = [f"127.0.0.1:{taken.getsockname()[1]}" for taken in (udp, nobody)]
        args = ["--udp", addresses[0], "--tcp", addresses[1], "--retries", "1"]
        with Program("sensors.py", *args) as program:
            for _ in range(2):
                program.line(f"tcp://{addresses[1]}: ")
            assert program.finish() == (0, "sensors: giving up\n", "")


@needs_browser
def test_the_page_shows_every_sensor_and_how_it_came(page: Page) -> None:
    shown = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.card')].map("
        "(card) => [card.dataset.name, card.querySelector('.via').textContent.toLowerCase()]))"
    )
    assert shown == SENSORS
    assert list(shown) == sorted(shown)


@needs_browser
def test_the_page_shows_a_measurement_as_soon_as_it_comes(page: Page, demo: Gateway) -> None:
    demo.send_udp("desk.temperature 21.5 °C".encode())
    with demo.tcp() as sender:
        sender.sendall(b"desk.noise 1234.5 mV\n")
        page.wait_for(f"{card('desk.temperature', '.now')} === '21.5 °C'")
        page.wait_for(f"{card('desk.noise', '.now')} === '1,234.5 mV'")
        sender.sendall(b"desk.noise -3.25 mV\n")
        page.wait_for(f"{card('desk.noise', '.now')} === '-3.25 mV'")


@needs_browser
def test_the_page_draws_a_chart_that_grows(page: Page) -> None:
    line = """document.querySelector('[data-name="garden.wind"] .line').getAttribute('d')"""
    page.wait_for(f"({line}.match(/L/g) || []).length >= 3")


@needs_browser
def test_what_sensors_send_is_text_and_never_markup(page: Page, demo: Gateway) -> None:
    demo.send_udp(b"x 1 <b>u</b>")
    demo.send_udp(b"<img/src=x/onerror=alert(1)> 1")
    page.wait_for(f"{card('x', '.unit')} === '<b>u</b>'")
    page.wait_for("document.getElementById('last-error').textContent.includes('<img/src')")


@needs_browser
def test_the_arrow_keys_look_back_in_a_chart(page: Page, demo: Gateway) -> None:
    plot = """document.querySelector('[data-name="ramp"] .plot')"""
    demo.send_udp(b"ramp 1 V\nramp 2 V\nramp 3 V\n")  # within one millisecond or two
    page.wait_for(f"{plot} && {plot}.getAttribute('aria-valuenow') === '2'")
    page.evaluate(f"{plot}.focus()")
    seen = []
    for key in ("ArrowLeft", "ArrowLeft", "ArrowRight", "Home", "End"):
        page.press(key)
        seen.append(page.evaluate(f"[{plot}.ariaValueText, {card('ramp', '.value')}]"))
    assert [text.split(",")[0] for text, _ in seen] == ["2 V", "1 V", "2 V", "1 V", "3 V"]
    assert [value for _, value in seen] == ["2", "1", "2", "1", "3"]


@needs_browser
def test_pause_holds_the_page_and_resume_brings_it_up_to_date(page: Page, demo: Gateway) -> None:
    page.evaluate("document.getElementById('pause').click()")
    demo.send_udp(b"late 1")
    with Stream(demo) as stream:
        assert next(stream.values_of("late")) == 1
    page.wait_for("document.getElementById('n-sensors').textContent === '7'")
    assert page.evaluate(card("late", ".value")) is None
    page.evaluate("document.getElementById('pause').click()")
    page.wait_for(f"{card('late', '.value')} === '1'")


@needs_browser
def test_the_page_says_when_the_gateway_is_gone_and_finds_it_again(tmp_path: Path) -> None:
    assert CHROMIUM is not None
    live = "document.getElementById('link').dataset.state === '{}'"
    with browser_page(CHROMIUM, tmp_path / "profile") as page:
        with Program("gateway.py", "--port", "0", "--http-port", "0") as program:
            first = Gateway(program)
            first.send_udp(b"before 1")
            page.open(f"http://127.0.0.1:{first.http_port}/")
            page.wait_for(f"{card('before', '.value')} === '1'")
            program.stop()
        page.wait_for(live.format("lost"))
        with Program("gateway.py", "--port", "0", "--http-port", str(first.http_port)) as program:
            second = Gateway(program)
            second.send_udp(b"after 2")
            page.wait_for(f"{card('after', '.value')} === '2' && {live.format('live')}")
            assert page.evaluate(card("before", ".value")) is None
            program.stop()


@needs_browser
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 800)], ids=["phone", "desk"])
def test_nothing_sticks_out_at_the_side(page: Page, demo: Gateway, width: int, height: int) -> None:
    page.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=height,
        deviceScaleFactor=1,
        mobile=width < 500,
    )
    demo.send_udp(b"n" * 64 + b" 1\n" + b"n" * 64 + b" -123456789.125 uuuuuuuuuuuuuuuu")
    page.wait_for(f"{card('n' * 64, '.value')} === '-123,456,789.125'")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sticking_out = """[...document.querySelectorAll('.card *')].filter((part) =>
        part.getBoundingClientRect().right > part.closest('.card').getBoundingClientRect().right)
        .map((part) => part.outerHTML)"""
    assert page.evaluate(sticking_out) == []
