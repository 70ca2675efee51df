"""The demo, as people meet it: started by one command, seen in a browser.

The tests of the page need Chromium and are skipped where there is none.
"""

from __future__ import annotations

import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Page, browser_page, find_chromium
from programs import DEADLINE, DEMO, GATEWAY, QUICK, Gateway, Program, Stream, load_example

SENSORS = {
    "cellar.co2": "tcp",
    "garden.wind": "udp",
    "greenhouse.humidity": "mqtt",
    "greenhouse.temperature": "mqtt",
    "roof.solar": "ws",
    "tank.level": "mqtt",
}
store = load_example("gateway/store")
CHROMIUM = find_chromium()
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture
def demo() -> Iterator[Gateway]:
    """Run the gateway with its devices; Ctrl-C must end it cleanly."""
    with Program(DEMO, *QUICK) as program:
        gateway = Gateway(program)
        yield gateway
        gateway.api("stats")
        program.stop()


@pytest.fixture
def page(demo: Gateway, tmp_path: Path) -> Iterator[Page]:
    """Show the demo's page, with all sensors on it; it must not complain."""
    assert CHROMIUM is not None
    with browser_page(CHROMIUM, tmp_path / "profile") as page:
        page.open(f"http://127.0.0.1:{demo.http_port}/")
        page.wait_for(f"document.querySelectorAll('#sensors .card').length === {len(SENSORS)}")
        yield page
        assert page.complaints == []


def card(name: str, part: str) -> str:
    """Return JavaScript for the text of one part of a sensor's card."""
    return f"""(document.querySelector('[data-name="{name}"] {part}') || {{}}).textContent"""


def nowhere() -> list[str]:
    """Return options that send sensors.py to ports where nobody answers."""
    ways = {"udp": "udp", "tcp": "tcp", "web": "http", "mqtt": "mqtt"}
    return [word for way in ways for word in (f"--{way}", f"{ways[way]}://127.0.0.1:1")]


def test_the_demo_plays_sensors_by_every_way_in(demo: Gateway) -> None:
    with Stream(demo) as stream:
        known: dict[str, str] = {}
        for _, data in stream.events():
            known.update((one["name"], one["via"]) for one in data["sensors"])
            if len(known) == len(SENSORS):
                break
    assert known == SENSORS
    assert {one["name"] for one in demo.api("devices")} == {
        "mqtt greenhouse",
        "mqtt tank",
        *(f"{via} 127.0.0.1" for via in ("udp", "tcp", "ws")),
    }


@pytest.mark.parametrize("name", ["greenhouse.fan", "tank.pump"])
def test_the_actuators_of_the_demo_do_as_they_are_told(demo: Gateway, name: str) -> None:
    with Stream(demo) as stream:
        stream.actuator(name, state="off", asked="")
        for word in ("on", "off"):
            stream.send(f"switch {name} {word}")
            stream.actuator(name, asked=word)
            stream.actuator(name, state=word)


def test_the_actuators_come_back_with_their_gateway_and_without_it_they_are_offline() -> None:
    with Program(GATEWAY, *QUICK) as program:
        gateway = Gateway(program)
        address = f"mqtt://127.0.0.1:{gateway.mqtt_port}"
        with Stream(gateway) as stream:
            for _ in range(2):
                with Program("demo/sensors.py", *nowhere(), "--mqtt", address) as sensors:
                    stream.actuator("tank.pump", state="off")
                    sensors.process.kill()  # without a word: the will tells
                stream.actuator("tank.pump", state="offline")
        program.stop()


def test_the_sensors_send_at_once_and_what_the_gateway_documents() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(type=socket.SOCK_DGRAM) as udp,
    ):
        udp.bind(("127.0.0.1", 0))
        tcp.settimeout(DEADLINE)
        udp.settimeout(DEADLINE)
        ports = [taken.getsockname()[1] for taken in (udp, tcp)]
        args = ["--udp", f"udp://127.0.0.1:{ports[0]}", "--tcp", f"tcp://127.0.0.1:{ports[1]}"]
        args = [*nowhere(), *args]
        with Program("demo/sensors.py", *args) as program:
            connection = tcp.accept()[0]
            with connection, connection.makefile("rb") as lines:
                came = {"udp": udp.recv(1000), "tcp": lines.readline()}
                for via, line in came.items():
                    assert SENSORS[store.parse(line)[0]] == via
                program.process.send_signal(signal.SIGINT)  # while it is connected
                assert program.finish()[0::2] == (0, "")


def test_the_sensors_connect_again_when_the_gateway_comes_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        tcp.settimeout(DEADLINE)
        address = f"tcp://127.0.0.1:{tcp.getsockname()[1]}"
        with Program("demo/sensors.py", *nowhere(), "--tcp", address) as program:
            tcp.accept()[0].close()
            with tcp.accept()[0] as again:
                assert again.recv(1)
                program.process.send_signal(signal.SIGINT)
                assert program.finish()[0::2] == (0, "")


def test_the_sensors_say_why_there_is_no_connection_and_go_on() -> None:
    with Program("demo/sensors.py", *nowhere()) as program:
        told = {program.line(r"^sensors: (.*?): .*refused")[1] for _ in range(8)}
        program.process.send_signal(signal.SIGINT)
        assert program.finish()[0::2] == (0, "")
    assert {"tcp://127.0.0.1:1", "ws://127.0.0.1:1/device"} <= told


@needs_browser
def test_the_page_shows_every_sensor_and_how_it_came(page: Page) -> None:
    shown = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('#sensors .card')].map("
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


def press_enter(page: Page) -> None:
    """Press Enter, which makes a click of what has the focus."""
    key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
    page.call("Input.dispatchKeyEvent", type="keyDown", text="\r", **key)
    page.call("Input.dispatchKeyEvent", type="keyUp", **key)


@needs_browser
def test_a_switch_on_the_page_shows_what_was_asked_and_what_was_done(
    page: Page, demo: Gateway
) -> None:
    switch = """document.querySelector('[data-name="tank.pump"]')"""
    button = f"{switch}.querySelector('button')"
    page.wait_for(f"{switch} && {switch}.dataset.state === 'off'")
    assert page.evaluate(f"[{button}.role, {button}.ariaChecked]") == ["switch", "false"]
    page.evaluate(f"{button}.focus()")
    press_enter(page)
    page.wait_for(f"{switch}.dataset.state === 'waits' && {button}.ariaChecked === 'true'")
    assert page.evaluate(card("tank.pump", ".asked")).endswith(", waiting")
    assert page.evaluate(card("tank.pump", ".said")).startswith("off, ")
    page.wait_for(f"{switch}.dataset.state === 'on'")
    assert page.evaluate(card("tank.pump", ".now")) == "On"
    assert page.evaluate(card("tank.pump", ".said")).startswith("on, ")
    assert demo.api("actuators")[1]["asked"] == "on"


def set_limits(page: Page, name: str, low: str, high: str) -> None:
    """Open the form of a sensor's alarm, fill it and press Enter."""
    form = f"""document.querySelector('[data-name="{name}"] .limits')"""
    page.evaluate(f"{form}.open = true")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    page.evaluate(f"{form}.querySelector('[name=low]').focus()")
    page.call("Input.insertText", text=low) if low else None
    page.evaluate(f"{form}.querySelector('[name=high]').focus()")
    page.call("Input.insertText", text=high) if high else None
    press_enter(page)


@needs_browser
def test_limits_set_on_the_page_raise_an_alarm_that_says_what_is_wrong(
    page: Page, demo: Gateway
) -> None:
    demo.send_udp(b"oven.heat 20 C")
    page.wait_for(f"{card('oven.heat', '.value')} === '20'")
    assert page.evaluate(card("oven.heat", "summary")) == "Alarm off"
    set_limits(page, "oven.heat", "-5.5", "19")
    page.wait_for(f"{card('oven.heat', 'summary')} === 'Alarm below -5.5, above 19'")
    assert page.evaluate(card("oven.heat", ".alarm")) == "Above 19"
    alarms = "document.getElementById('alarms').textContent"
    page.wait_for(f"{alarms} === 'oven.heat is above 19'")
    assert page.evaluate("document.title") == "(1) Sensor gateway"
    demo.send_udp(b"oven.heat 19 C")
    page.wait_for(f"{alarms} === ''")
    assert page.evaluate("document.title") == "Sensor gateway"


@needs_browser
def test_limits_that_cannot_be_are_stopped_by_the_form_or_the_gateway(
    page: Page, demo: Gateway
) -> None:
    demo.send_udp(b"oven 20 C")
    page.wait_for(f"{card('oven', '.value')} === '20'")
    set_limits(page, "oven", "5", "4")
    invalid = """document.querySelector('[data-name="oven"] [name=high]').validationMessage"""
    assert "more than the lower" in page.evaluate(invalid)
    page.evaluate("""document.querySelector('[data-name="oven"] form').reset()""")
    set_limits(page, "oven", "", "1e16")
    page.wait_for("document.getElementById('refused').textContent.includes('1e16')")
    assert page.evaluate(card("oven", "summary")) == "Alarm off"


@needs_browser
def test_a_command_for_a_device_that_is_away_is_shown_as_waiting(tmp_path: Path) -> None:
    assert CHROMIUM is not None
    switch = """document.querySelector('[data-name="tank.pump"]')"""
    with (
        browser_page(CHROMIUM, tmp_path / "profile") as page,
        Program(GATEWAY, *QUICK) as program,
    ):
        gateway = Gateway(program)
        address = f"mqtt://127.0.0.1:{gateway.mqtt_port}"
        page.open(f"http://127.0.0.1:{gateway.http_port}/")
        with Program("demo/sensors.py", *nowhere(), "--mqtt", address) as sensors:
            page.wait_for(f"{switch} && {switch}.dataset.state === 'off'")
            sensors.process.kill()
        page.wait_for(f"{switch}.dataset.state === 'offline'")
        page.evaluate(f"{switch}.querySelector('button').click()")
        page.wait_for(f"/^on, .*waiting$/.test({card('tank.pump', '.asked')})")
        assert page.evaluate(card("tank.pump", ".now")) == "Offline"
        with Program("demo/sensors.py", *nowhere(), "--mqtt", address):
            page.wait_for(f"{switch}.dataset.state === 'on'")  # it has done so by itself
        assert page.complaints == []
        program.stop()


@needs_browser
def test_the_page_lists_the_devices_and_when_they_were_seen(page: Page) -> None:
    rows = "[...document.querySelectorAll('#devices tr')]"
    page.wait_for(f"{rows}.length === 5 && {rows}.every((row) => row.dataset.name)")
    names = page.evaluate(f"{rows}.map((row) => row.dataset.name)")
    assert names == [
        "mqtt greenhouse",
        "mqtt tank",
        "tcp 127.0.0.1",
        "udp 127.0.0.1",
        "ws 127.0.0.1",
    ]
    assert page.evaluate(f"{rows}.every((row) => /just now|s ago/.test(row.lastChild.textContent))")


@needs_browser
def test_the_page_leads_to_the_history_of_each_sensor(page: Page, demo: Gateway) -> None:
    href = """document.querySelector('[data-name="garden.wind"] .csv').getAttribute('href')"""
    status, _, body = demo.ask(page.evaluate(href))
    assert status == 200
    assert b"garden.wind" in body
    assert b"roof.solar" not in body


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
        with Program(GATEWAY, *QUICK) as program:
            first = Gateway(program)
            first.send_udp(b"before 1")
            page.open(f"http://127.0.0.1:{first.http_port}/")
            page.wait_for(f"{card('before', '.value')} === '1'")
            program.stop()
        page.wait_for(live.format("lost"))
        with Program(GATEWAY, *QUICK, "--web", first.url) as program:
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
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sticking_out = """[...document.querySelectorAll('.card *')].filter((part) =>
        part.getBoundingClientRect().right > part.closest('.card').getBoundingClientRect().right)
        .map((part) => part.outerHTML)"""
    assert page.evaluate(sticking_out) == []


@needs_browser
@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command")
def test_the_page_is_live_over_https(tmp_path: Path) -> None:
    assert CHROMIUM is not None
    args = ("--web", "https://127.0.0.1:0", "--certificate", str(tmp_path / "gateway.pem"))
    profile = tmp_path / "profile"
    with (
        Program(GATEWAY, *QUICK, *args) as program,
        browser_page(CHROMIUM, profile, "--ignore-certificate-errors") as page,
    ):
        program.line("is a new certificate")
        gateway = Gateway(program)
        page.open(f"{gateway.url}/")
        page.wait_for("document.getElementById('link')?.dataset.state === 'live'")
        gateway.send_udp(b"desk 21.5 C")
        page.wait_for("document.querySelector('[data-name=desk] .value')?.textContent === '21.5'")
        assert page.complaints == []
        program.stop()
