r"""Serve and speak HTTP, WebSocket, MQTT, SNTP, TCP and UDP from one event loop in C.

::

    from mongoose_py import MG_EV_HTTP_MSG, Manager

    def handle(conn, event, data):
        if event == MG_EV_HTTP_MSG:
            conn.reply(200, "hello\n")

    with Manager(handle) as manager:
        manager.listen("http://127.0.0.1:8000")
        manager.run()
"""

from mongoose_py.__about__ import __version__
from mongoose_py.base64 import base64_decode, base64_encode
from mongoose_py.clock import millis
from mongoose_py.connection import Connection
from mongoose_py.dns import Lookup, Resolver
from mongoose_py.errors import AddressError, ConnectionClosed, Error, SystemCallError
from mongoose_py.events import (
    MG_EV_ACCEPT,
    MG_EV_CLOSE,
    MG_EV_CONNECT,
    MG_EV_ERROR,
    MG_EV_HTTP_HDRS,
    MG_EV_HTTP_MSG,
    MG_EV_MQTT_CMD,
    MG_EV_MQTT_MSG,
    MG_EV_MQTT_OPEN,
    MG_EV_OPEN,
    MG_EV_POLL,
    MG_EV_READ,
    MG_EV_RESOLVE,
    MG_EV_SNTP_TIME,
    MG_EV_TLS_HS,
    MG_EV_USER,
    MG_EV_WAKEUP,
    MG_EV_WRITE,
    MG_EV_WS_CTL,
    MG_EV_WS_MSG,
    MG_EV_WS_OPEN,
    event_name,
)
from mongoose_py.handler import EventData, EventHandler, Handler
from mongoose_py.hashes import crc32, hmac_sha256, md5, sha1, sha256
from mongoose_py.http import HttpMessage
from mongoose_py.json import json_get, json_get_bool, json_get_long, json_get_num, json_get_str
from mongoose_py.limits import Limits
from mongoose_py.logs import (
    MG_LL_DEBUG,
    MG_LL_ERROR,
    MG_LL_INFO,
    MG_LL_NONE,
    MG_LL_VERBOSE,
    log_get,
    log_set,
)
from mongoose_py.manager import Manager
from mongoose_py.match import match
from mongoose_py.mqtt import (
    MQTT_PROP_TYPE_BINARY_DATA,
    MQTT_PROP_TYPE_BYTE,
    MQTT_PROP_TYPE_INT,
    MQTT_PROP_TYPE_SHORT,
    MQTT_PROP_TYPE_STRING,
    MQTT_PROP_TYPE_STRING_PAIR,
    MQTT_PROP_TYPE_VARIABLE_INT,
    MqttMessage,
    MqttWill,
    mqtt_match,
)
from mongoose_py.mqtt_session import MqttClientSession, MqttSession, Reconnect
from mongoose_py.multipart import http_parse_multipart
from mongoose_py.params import http_var
from mongoose_py.random import random_bytes, random_str
from mongoose_py.rpc import Rpc, RpcReq
from mongoose_py.sntp import SntpResult
from mongoose_py.timer import Timer
from mongoose_py.tls import TlsInfo, TlsOpts
from mongoose_py.url import (
    url_encode,
    url_host,
    url_is_ssl,
    url_pass,
    url_port,
    url_uri,
    url_user,
)
from mongoose_py.websocket import (
    WEBSOCKET_OP_BINARY,
    WEBSOCKET_OP_CLOSE,
    WEBSOCKET_OP_CONTINUE,
    WEBSOCKET_OP_PING,
    WEBSOCKET_OP_PONG,
    WEBSOCKET_OP_TEXT,
    WsMessage,
)
from mongoose_py.x509 import TlsCertificate

__all__ = [
    "MG_EV_ACCEPT",
    "MG_EV_CLOSE",
    "MG_EV_CONNECT",
    "MG_EV_ERROR",
    "MG_EV_HTTP_HDRS",
    "MG_EV_HTTP_MSG",
    "MG_EV_MQTT_CMD",
    "MG_EV_MQTT_MSG",
    "MG_EV_MQTT_OPEN",
    "MG_EV_OPEN",
    "MG_EV_POLL",
    "MG_EV_READ",
    "MG_EV_RESOLVE",
    "MG_EV_SNTP_TIME",
    "MG_EV_TLS_HS",
    "MG_EV_USER",
    "MG_EV_WAKEUP",
    "MG_EV_WRITE",
    "MG_EV_WS_CTL",
    "MG_EV_WS_MSG",
    "MG_EV_WS_OPEN",
    "MG_LL_DEBUG",
    "MG_LL_ERROR",
    "MG_LL_INFO",
    "MG_LL_NONE",
    "MG_LL_VERBOSE",
    "MQTT_PROP_TYPE_BINARY_DATA",
    "MQTT_PROP_TYPE_BYTE",
    "MQTT_PROP_TYPE_INT",
    "MQTT_PROP_TYPE_SHORT",
    "MQTT_PROP_TYPE_STRING",
    "MQTT_PROP_TYPE_STRING_PAIR",
    "MQTT_PROP_TYPE_VARIABLE_INT",
    "WEBSOCKET_OP_BINARY",
    "WEBSOCKET_OP_CLOSE",
    "WEBSOCKET_OP_CONTINUE",
    "WEBSOCKET_OP_PING",
    "WEBSOCKET_OP_PONG",
    "WEBSOCKET_OP_TEXT",
    "AddressError",
    "Connection",
    "ConnectionClosed",
    "Error",
    "EventData",
    "EventHandler",
    "Handler",
    "HttpMessage",
    "Limits",
    "Lookup",
    "Manager",
    "MqttClientSession",
    "MqttMessage",
    "MqttSession",
    "MqttWill",
    "Reconnect",
    "Resolver",
    "Rpc",
    "RpcReq",
    "SntpResult",
    "SystemCallError",
    "Timer",
    "TlsCertificate",
    "TlsInfo",
    "TlsOpts",
    "WsMessage",
    "__version__",
    "base64_decode",
    "base64_encode",
    "crc32",
    "event_name",
    "hmac_sha256",
    "http_parse_multipart",
    "http_var",
    "json_get",
    "json_get_bool",
    "json_get_long",
    "json_get_num",
    "json_get_str",
    "log_get",
    "log_set",
    "match",
    "md5",
    "millis",
    "mqtt_match",
    "random_bytes",
    "random_str",
    "sha1",
    "sha256",
    "url_encode",
    "url_host",
    "url_is_ssl",
    "url_pass",
    "url_port",
    "url_uri",
    "url_user",
]
