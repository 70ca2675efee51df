"""Every public name and signature, so that none changes or disappears unnoticed."""

from __future__ import annotations

import ast
import importlib.resources
import inspect
import subprocess
import sys
from typing import Any

import pytest

import mongoose_py
from mongoose_py import (
    Connection,
    Handler,
    HttpMessage,
    Lookup,
    Manager,
    MqttClientSession,
    MqttMessage,
    MqttSession,
    MqttWill,
    Reconnect,
    Rpc,
    RpcReq,
    SntpResult,
    Timer,
    TlsCertificate,
    TlsInfo,
    TlsOpts,
    WsMessage,
    _mongoose,
)

EVENTS = """ERROR OPEN POLL RESOLVE CONNECT ACCEPT TLS_HS READ WRITE CLOSE HTTP_HDRS HTTP_MSG
    WS_OPEN WS_MSG WS_CTL MQTT_CMD MQTT_MSG MQTT_OPEN SNTP_TIME WAKEUP USER"""
LEVELS = "NONE ERROR INFO DEBUG VERBOSE"
CLASSES = """AddressError Connection ConnectionClosed Error Handler HttpMessage Limits Lookup
    Manager MqttClientSession MqttMessage MqttSession MqttWill Reconnect Resolver Rpc RpcReq
    SntpResult SystemCallError Timer TlsCertificate TlsInfo TlsOpts WsMessage"""
TYPES = "EventData EventHandler"
MQTT_TYPES = "BINARY_DATA BYTE INT SHORT STRING STRING_PAIR VARIABLE_INT"
OPCODES = "BINARY CLOSE CONTINUE PING PONG TEXT"
FUNCTIONS = {
    "base64_decode": "data",
    "base64_encode": "data",
    "crc32": "data, initial=0",
    "event_name": "ev",
    "hmac_sha256": "key, data",
    "http_parse_multipart": "body, offset=0",
    "http_var": "buf, name",
    "json_get": "data, path",
    "json_get_bool": "data, path, default=None",
    "json_get_long": "data, path, default=0",
    "json_get_num": "data, path, default=None",
    "json_get_str": "data, path",
    "log_get": "",
    "log_set": "level",
    "match": "s, pattern",
    "mqtt_match": "topic_filter, topic",
    "md5": "data",
    "millis": "",
    "random_bytes": "n",
    "random_str": "n",
    "sha1": "data",
    "sha256": "data",
    "url_encode": "data",
    "url_host": "url",
    "url_is_ssl": "url",
    "url_pass": "url",
    "url_port": "url",
    "url_uri": "url",
    "url_user": "url",
}

# What may be passed by position or by these names; more may be there, by keyword only.
METHODS: dict[type, dict[str, str]] = {
    Manager: {
        "__init__": "handler=None, enable_wakeup=False, error_handler=None",
        "close": "",
        "connect": "url, handler=None",
        "fileno": "",
        "http_connect": "url, handler=None",
        "http_listen": "url, handler=None",
        "listen": "url, handler=None",
        "mqtt_broadcast": "conns, topic, message, qos=0, retain=False",
        "mqtt_connect": """url, handler=None, client_id='', username='', password='',
            clean_session=True, keepalive=60""",
        "mqtt_listen": "url, handler=None",
        "mqtt_session": "",
        "next_timeout": "",
        "poll": "timeout_ms=0",
        "resolve": "url, callback",
        "run": "poll_ms=100",
        "sntp_connect": "url, handler=None",
        "sse_broadcast": "conns, event_type, data",
        "stop": "",
        "timer_add": "milliseconds, callback, repeat=False, run_now=False",
        "wakeup": "connection_id, data=b''",
        "ws_broadcast": "conns, data, op=1",
        "ws_connect": "url, handler=None",
    },
    Connection: {
        "close": "",
        "drain": "",
        "error": "message",
        "http_basic_auth": "username, password",
        "http_chunk": "data",
        "http_sse": "event_type, data",
        "mqtt_auth": "reason=0x18, properties=None",
        "mqtt_connack": "code=0, session_present=False, properties=None",
        "mqtt_disconnect": "reason=0, properties=None",
        "mqtt_ping": "",
        "mqtt_pong": "",
        "mqtt_pub": "topic, message, qos=0, retain=False",
        "mqtt_sub": "topic, qos=0",
        "mqtt_suback": "packet_id, codes, properties=None",
        "mqtt_unsub": "topic",
        "mqtt_unsuback": "packet_id, codes=(), properties=None",
        "pause": "",
        "recv_consume": "n",
        "recv_data": "length=-1",
        "recv_keep": "n",
        "reply": "status_code, body=b'', headers=None",
        "reply_json": "data, status_code=200, headers=None",
        "request": "method, path='/', headers=None, body=b''",
        "resolve": "url",
        "resolve_cancel": "",
        "resume": "",
        "send": "data",
        "send_data": "length=-1",
        "serve_dir": "message, root_dir, extra_headers='', mime_types='', page404=''",
        "serve_file": "message, path, extra_headers='', mime_types=''",
        "set_handler": "handler",
        "sntp_request": "",
        "stream_body": "",
        "tls_free": "",
        "tls_info": "",
        "tls_init": "opts",
        "tls_reload": "opts=None",
        "ws_close": "code=1000, reason=''",
        "ws_send": "data, op=1",
        "ws_upgrade": "message, extra_headers=None",
    },
    HttpMessage: {
        "header": "name, default=None",
        "header_var": "header_name, var_name",
        "headers": "",
        "query_var": "name",
        "status": "",
        "ws_subprotocols": "",
    },
    MqttMessage: {"properties": "", "properties_by_name": ""},
    MqttWill: {
        "__init__": "topic, message, qos, retain, block",
        "properties": "",
        "properties_by_name": "",
    },
    MqttSession: {
        "__init__": "manager",
        "close": "",
        "mqtt_pub": "topic, message, qos=1, retain=False",
    },
    MqttClientSession: {
        "close": "",
        "mqtt_pub": "topic, message, qos=1, retain=False",
        "mqtt_sub": "topic, qos=0",
        "mqtt_unsub": "topic",
    },
    Reconnect: {"__init__": "min_delay=1.0, max_delay=60.0"},
    Rpc: {"__init__": "", "add": "method, handler", "process": "frame"},
    RpcReq: {"err": "code, message", "ok": "result_json"},
    Lookup: {"cancel": ""},
    Timer: {"cancel": ""},
    TlsCertificate: {"__init__": "der"},
    TlsOpts: {"__init__": "ca=None, cert=None, key=None, name=None, skip_verification=False"},
    Handler: {
        "on_accept": "conn",
        "on_close": "conn",
        "on_connect": "conn",
        "on_error": "conn, message",
        "on_http": "conn, message",
        "on_http_headers": "conn, message",
        "on_mqtt_command": "conn, message",
        "on_mqtt_message": "conn, message",
        "on_mqtt_open": "conn, code",
        "on_open": "conn",
        "on_poll": "conn",
        "on_read": "conn, data",
        "on_resolve": "conn, addresses",
        "on_sntp_time": "conn, time_ms",
        "on_tls": "conn",
        "on_wakeup": "conn, data",
        "on_write": "conn",
        "on_ws_control": "conn, message",
        "on_ws_message": "conn, message",
        "on_ws_open": "conn, message",
    },
}
KEYWORDS: dict[tuple[type, str], str] = {
    (Manager, "__init__"): "events limits on_exception poller answer_500 send_date resolver",
    (Manager, "mqtt_broadcast"): "properties",
    (Manager, "run"): "drain",
    (Manager, "mqtt_connect"): """version will_topic will_message will_qos will_retain
        will_properties properties session_expiry reconnect events tls""",
    (Manager, "mqtt_listen"): "events reuse_port tls",
    (Connection, "mqtt_connack"): "session",
    (Connection, "mqtt_pub"): "properties",
    (Connection, "mqtt_sub"): "no_local retain_as_published retain_handling properties",
    (Connection, "mqtt_unsub"): "properties",
    (MqttSession, "mqtt_pub"): "properties",
    (MqttClientSession, "mqtt_pub"): "properties",
    (MqttClientSession, "mqtt_sub"): "no_local retain_as_published retain_handling properties",
    (MqttClientSession, "mqtt_unsub"): "properties",
    (Manager, "connect"): "http events tls",
    (Manager, "http_connect"): "events tls",
    (Manager, "http_listen"): "events reuse_port tls",
    (Manager, "listen"): "http events reuse_port tls",
    (Connection, "serve_dir"): "fallthrough listing",
    (Connection, "set_handler"): "events",
    (Connection, "ws_send"): "fin",
    (Connection, "ws_upgrade"): "subprotocol compression origins",
    (Rpc, "__init__"): "max_batch on_exception",
    (RpcReq, "err"): "data_json",
    (TlsOpts, "__init__"): """alpn ciphers client_auth min_version password resumption
        sni""",
    (Manager, "sntp_connect"): "events",
    (Manager, "ws_connect"): "headers subprotocols compression events tls",
}
PROPERTIES: dict[type, str] = {
    Manager: "connections wakeup_id",
    Connection: """handler id is_client is_closing is_draining is_full is_listening is_mqtt
        is_readable is_tls is_udp is_websocket is_writable local_addr manager mqtt_session recv_len
        recv_size remote_addr send_len send_size sntp_result url userdata""",
    MqttMessage: """ack clean_session client_id cmd data dup id keepalive password qos raw
        reason_codes retain session_present subscriptions text topic topics username version
        will""",
    MqttWill: "message qos retain topic",
    MqttSession: "connection pending pending_bytes state",
    MqttClientSession: "client_id connection next_attempt pending pending_bytes state",
    Reconnect: "max_delay min_delay",
    HttpMessage: "body_bytes body_text method proto query uri",
    Rpc: "methods",
    RpcReq: "frame is_notification method params",
    SntpResult: "delay leap offset stratum time_ms",
    Lookup: "active",
    Timer: "active",
    TlsCertificate: "alt_names der issuer not_after not_before serial_number subject",
    TlsInfo: "alpn cipher peer_certificate resumed server_name version",
    TlsOpts: """alpn ca cert ciphers client_auth key min_version name password resumption
        skip_verification sni""",
    WsMessage: "close_code close_reason data flags raw_flags text",
}


def parameters(spec: str) -> list[tuple[str, Any]]:
    """Read ``"a, b=1"`` as names and defaults."""
    args = ast.parse(f"def f({spec}): ...").body[0].args  # type: ignore[attr-defined]
    missing = [inspect.Parameter.empty] * (len(args.args) - len(args.defaults))
    defaults = [*missing, *map(ast.literal_eval, args.defaults)]
    return list(zip([arg.arg for arg in args.args], defaults))


def by_position(function: Any) -> list[tuple[str, Any]]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD,)
    found = inspect.signature(function).parameters.values()
    return [(p.name, p.default) for p in found if p.kind in kinds and p.name != "self"]


def by_keyword(function: Any) -> dict[str, Any]:
    found = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in found if p.kind is inspect.Parameter.KEYWORD_ONLY}


def test_all_is_exactly_the_public_names() -> None:
    names = [f"MG_EV_{name}" for name in EVENTS.split()]
    names += [f"MG_LL_{name}" for name in LEVELS.split()]
    names += [f"MQTT_PROP_TYPE_{name}" for name in MQTT_TYPES.split()]
    names += [f"WEBSOCKET_OP_{name}" for name in OPCODES.split()]
    names += [*CLASSES.split(), *TYPES.split(), *FUNCTIONS, "__version__"]
    assert sorted(mongoose_py.__all__) == sorted(names)
    assert all(hasattr(mongoose_py, name) for name in names)


def test_the_old_module_name_has_the_same_objects() -> None:
    for name in mongoose_py.__all__:
        assert getattr(_mongoose, name) is getattr(mongoose_py, name)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_their_signature(name: str) -> None:
    function = getattr(mongoose_py, name)
    assert by_position(function) == parameters(FUNCTIONS[name])
    assert inspect.Parameter.empty not in by_keyword(function).values()


CALLS = [(cls, name) for cls, methods in METHODS.items() for name in methods]


@pytest.mark.parametrize(("cls", "name"), CALLS)
def test_methods_have_their_signature(cls: type, name: str) -> None:
    function = getattr(cls, name)
    assert by_position(function) == parameters(METHODS[cls][name])
    extra = by_keyword(function)
    assert sorted(extra) == sorted(KEYWORDS.get((cls, name), "").split())
    assert inspect.Parameter.empty not in extra.values()


@pytest.mark.parametrize(
    "cls",
    [
        Manager,
        Connection,
        HttpMessage,
        MqttMessage,
        MqttWill,
        MqttSession,
        MqttClientSession,
        Reconnect,
        Rpc,
        RpcReq,
        SntpResult,
        Lookup,
        Timer,
        Handler,
    ],
)
def test_classes_have_no_other_public_members(cls: type) -> None:
    documented = {*METHODS.get(cls, ()), *PROPERTIES.get(cls, "").split()} - {"__init__"}
    assert {name for name in dir(cls) if not name.startswith("_")} == documented


def test_everything_public_is_described_and_annotated() -> None:
    for cls, methods in METHODS.items():
        for name in methods:
            function = getattr(cls, name)
            assert cls.__doc__
            assert function.__doc__ or name == "__init__", f"{cls.__name__}.{name}"
            assert inspect.signature(function).return_annotation is not inspect.Signature.empty
        for name in PROPERTIES.get(cls, "").split():
            member = getattr(cls, name)
            assert member.__doc__ or not isinstance(member, property), f"{cls.__name__}.{name}"
    for name in FUNCTIONS:
        assert getattr(mongoose_py, name).__doc__, name


def test_the_package_says_that_it_is_typed() -> None:
    assert importlib.resources.files("mongoose_py").joinpath("py.typed").is_file()


def test_the_version_is_a_text() -> None:
    assert isinstance(mongoose_py.__version__, str)


def test_importing_starts_no_thread_and_loads_no_framework() -> None:
    code = (
        "import sys, threading, mongoose_py\n"
        "heavy = {'asyncio', 'ssl', 'logging', 'socket', 'selectors', 'json', 'http.client',"
        " 'hashlib', 'hmac', 'random', 'secrets', 'base64'}\n"
        "sys.exit(f'{heavy & {*sys.modules}} {threading.active_count()}'"
        " if heavy & {*sys.modules} or threading.active_count() > 1 else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
