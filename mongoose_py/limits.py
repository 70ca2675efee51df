"""Limits of one manager: how much a peer may send, and how long it may take."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from operator import index
from typing import Any

from mongoose_py._mongoose_cffi import ffi, lib

_MAX_HEADER_COUNT = 1000
_OPTIONAL = ("ws_message", "mqtt_packet", "connections")  # may be None
_LARGEST = 2**63 - 1  # of any size or count; as milliseconds 292 million years


@dataclass(frozen=True)
class Limits:
    """Limits of one manager, given as ``Manager(limits=Limits(...))``.

    Sizes are bytes, times are seconds. 0 switches a limit off.

    Attributes:
        recv_buffer: Bytes that may wait in a connection's receive buffer, a whole HTTP
            message included unless its body is streamed; above it reading stops, and a
            request is answered 413.
        send_backlog: Bytes a connection may have unsent; above it ``send()`` and
            ``reply()`` raise :class:`~mongoose_py.Error`.
        header_bytes: Bytes of an HTTP head, start line included; above it 431.
        header_count: Header lines of an HTTP message, at most 1000; above it 431.
        request_line: Bytes of an HTTP start line; above it 414.
        chunk_extension: Bytes behind the digits of a chunk-size line; above it 400.
        header_timeout: Seconds from the first byte of an HTTP message to its whole head.
        body_timeout: Seconds without progress in a body, or in sending to a peer that
            does not read.
        keepalive_timeout: Seconds a connection may be idle between two requests.
        connect_timeout: Seconds a TCP connect may take, to whichever address of a host.
        tls_handshake_timeout: Seconds a TLS handshake may take; then ``MG_EV_ERROR``.
        tls_handshakes: TLS handshakes of accepted connections that may be under way; for
            each further one ``MG_EV_ERROR`` ends that which began first.
        dns_timeout: Seconds a host name may take to be looked up, all servers included.
        dns_queries: Host names that are looked up at a time; others wait.
        dns_cache: Answers of name servers that are kept, two per name, for as long as
            they say but an hour at most; 0: none.
        ws_message: Bytes of a WebSocket message, compressed and not; above it the peer is
            sent close code 1009. ``None``: as *recv_buffer*.
        ws_close_timeout: Seconds from our close frame to the end of the connection.
        ws_idle_timeout: Seconds of silence on a WebSocket before a ping is sent; 0: no
            pings.
        ws_pong_timeout: Seconds of silence after that ping; then ``MG_EV_ERROR``.
        mqtt_packet: Bytes of one MQTT packet received; above it the connection ends with
            reason code 0x95. ``None``: as *recv_buffer*.
        mqtt_queue: Bytes of the MQTT messages of QoS 1 and 2 of one session that wait or
            are not acknowledged yet; above it ``mqtt_pub()`` raises
            :class:`~mongoose_py.Error`.
        mqtt_inflight: Messages of QoS 1 and 2 that a client of MQTT 3.1.1 has under way,
            sent and not acknowledged, as its server cannot announce how many it takes;
            above it they wait.
        mqtt_connect_timeout: Seconds an MQTT client may take from being accepted to its
            CONNECT, and a server from our CONNECT to its CONNACK; then ``MG_EV_ERROR``.
        sntp_timeout: Seconds from an SNTP request to its answer; then ``MG_EV_ERROR``.
        wakeup_payload: Bytes of one ``wakeup()``; above it ``ValueError``.
        wakeup_queue: Bytes of all wake-ups that wait for delivery; above it ``wakeup()``
            returns ``False``.
        connections: Connections at a time; above it new ones are refused. ``None``: what
            the descriptor limit of the process allows, less 64.

    Raises:
        ValueError: If a value is out of range.
        TypeError: If a value is not a number, or a size not a whole one.
    """

    recv_buffer: int = 3 * 1024 * 1024
    send_backlog: int = 64 * 1024 * 1024
    header_bytes: int = 65536
    header_count: int = 100
    request_line: int = 8192
    chunk_extension: int = 256
    header_timeout: float = 30.0
    body_timeout: float = 60.0
    keepalive_timeout: float = 75.0
    connect_timeout: float = 10.0
    tls_handshake_timeout: float = 10.0
    tls_handshakes: int = 4096
    dns_timeout: float = 3.0
    dns_queries: int = 32
    dns_cache: int = 256
    ws_message: int | None = None
    ws_close_timeout: float = 5.0
    ws_idle_timeout: float = 0.0
    ws_pong_timeout: float = 20.0
    mqtt_packet: int | None = None
    mqtt_queue: int = 64 * 1024 * 1024
    mqtt_inflight: int = 20
    mqtt_connect_timeout: float = 30.0
    sntp_timeout: float = 3.0
    wakeup_payload: int = 16 * 1024 * 1024
    wakeup_queue: int = 256 * 1024 * 1024
    connections: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_timeout"):
                _check_time(field.name, value)
            elif not (field.name in _OPTIONAL and value is None):
                largest = _MAX_HEADER_COUNT if field.name == "header_count" else _LARGEST
                _check_size(field.name, value, largest)


def _check_time(name: str, value: float) -> None:
    if not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be seconds, not {type(value).__name__}")
    if not 0 <= value <= _LARGEST / 1000:  # false for NaN as well
        raise ValueError(f"{name} must be 0 or more seconds, not {value}")


def _check_size(name: str, value: int, largest: int) -> None:
    if not 0 <= index(value) <= largest:
        raise ValueError(f"{name} must be 0..{largest}, not {value}")


def as_struct(limits: Limits) -> Any:
    """Return *limits* as a new ``struct mgx_limits *``."""
    struct = ffi.new("struct mgx_limits *")
    lib.mgx_limits_init(struct)
    for field in fields(limits):
        value = getattr(limits, field.name)
        if field.name.endswith("_timeout"):
            setattr(struct, f"{field.name}_ms", math.ceil(value * 1000))
        elif value is not None:
            setattr(struct, field.name, value)
    struct.ws_message = ws_message_limit(limits)
    if limits.mqtt_packet is None:
        struct.mqtt_packet = limits.recv_buffer
    return struct


def ws_message_limit(limits: Limits) -> int:
    """Return how many bytes a WebSocket message may have; 0: any number."""
    return limits.recv_buffer if limits.ws_message is None else limits.ws_message
