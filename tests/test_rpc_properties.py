"""Laws of JSON-RPC, against a model that reads the specification line by line."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from mongoose_py import Rpc, RpcReq


def answering(calls: list[tuple[str, object]]) -> Rpc:
    """Return methods ``echo`` and ``fail``; *calls* gets what they were called with."""

    def echo(req: RpcReq) -> None:
        calls.append((req.method, req.params))
        req.ok(json.dumps(req.params))

    def fail(req: RpcReq) -> None:
        calls.append((req.method, req.params))
        req.err(1, "failed")

    rpc = Rpc()
    rpc.add("echo", echo)
    rpc.add("fail", fail)
    return rpc


def model(value: object) -> object:
    """Return the answer to one request, ``None``: nothing."""

    def error(code: int, message: str, number: object = None) -> object:
        return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}

    if not isinstance(value, dict):
        return error(-32600, "Invalid Request")
    number = value.get("id")
    number_fits = number is None or type(number) in (str, int, float)
    if "method" not in value and ("result" in value or "error" in value):
        return None
    method, params = value.get("method"), value.get("params", [])
    if (
        value.get("jsonrpc", "2.0") != "2.0"
        or type(method) is not str
        or type(params) not in (list, dict)
        or not number_fits
    ):
        return error(-32600, "Invalid Request", number if number_fits else None)
    if "id" not in value:
        return None
    if method == "echo":
        return {"jsonrpc": "2.0", "id": number, "result": value.get("params")}
    if method == "fail":
        return error(1, "failed", number)
    return error(-32601, "Method not found", number)


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "id", "method", "é"]), inner, max_size=3)
    ),
    max_leaves=8,
)
requests = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | st.just("2.0") | scalars,
        "method": st.sampled_from(["echo", "echo", "fail", "other", ""]) | scalars,
        "params": st.lists(values, max_size=3)
        | st.dictionaries(st.text(max_size=3), values)
        | values,
        "id": scalars | values,
        "result": values,
        "extra": values,
    },
)


@given(requests | values)
def test_one_request_is_answered_as_the_model_does(value: object) -> None:
    calls: list[tuple[str, object]] = []
    answer = answering(calls).process(json.dumps(value))
    if isinstance(value, list):
        return  # a batch
    wanted = model(value)
    assert (json.loads(answer) if answer else None) == wanted


@given(st.lists(requests | scalars, min_size=1, max_size=6), st.sampled_from(["", " ", "\r\n\t "]))
def test_a_batch_is_answered_as_its_requests_one_by_one(batch: list[Any], blank: str) -> None:
    together: list[tuple[str, object]] = []
    apart: list[tuple[str, object]] = []
    texts = [json.dumps(value) for value in batch]
    frame = f"{blank}[{blank}" + f"{blank},{blank}".join(texts) + f"{blank}]{blank}"
    answer = answering(together).process(frame)
    single = answering(apart)
    answers = [json.loads(text) for text in map(single.process, texts) if text]
    assert (json.loads(answer) if answer else []) == answers
    assert together == apart


@given(st.binary(max_size=40) | st.text('[]{}":,ab1 .eE-\\u', max_size=30).map(str.encode))
@example(b'{"method":"echo","id":1e5,"params":[-0.0]}')
@example(b'{"method":"\\udcff","id":1}')
def test_any_bytes_give_an_answer_that_is_json_or_nothing(frame: bytes) -> None:
    answer = answering([]).process(frame)
    try:
        value = json.loads(frame.decode(), parse_constant=lambda name: json.loads("no"))
    except (ValueError, RecursionError):
        assert json.loads(answer)["error"]["code"] == -32700
    else:
        assert answer or isinstance(value, (dict, list))
        assert not answer or json.loads(answer)


@given(requests, st.data())
def test_every_proper_prefix_of_a_request_is_a_parse_error(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value)
    cut = data.draw(st.integers(0, len(text) - 1))
    calls: list[tuple[str, object]] = []
    assert json.loads(answering(calls).process(text[:cut]))["error"]["code"] == -32700
    assert calls == []


@given(st.text(max_size=20), st.integers(-40000, 40000), values)
def test_an_error_carries_code_message_and_data_unharmed(
    message: str, code: int, data: object
) -> None:
    rpc = Rpc()
    rpc.add("a", lambda req: req.err(code, message, data_json=json.dumps(data)))
    answer = json.loads(rpc.process('{"method":"a","id":0}'))
    assert answer["error"] == {"code": code, "message": message, "data": data}
