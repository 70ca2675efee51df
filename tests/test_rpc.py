"""JSON-RPC 2.0: the specification's own examples, and what it leaves to a server."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

import pytest

from mongoose_py import Rpc, RpcReq


def subtract(req: RpcReq) -> None:
    if isinstance(req.params, dict):
        req.ok(str(req.params["minuend"] - req.params["subtrahend"]))
    else:
        assert req.params is not None
        req.ok(str(req.params[0] - req.params[1]))


@pytest.fixture
def rpc() -> Rpc:
    """The methods that the examples of the specification call."""
    rpc = Rpc()
    rpc.add("subtract", subtract)
    rpc.add("sum", lambda req: req.ok(str(sum(req.params or ()))))
    rpc.add("get_data", lambda req: req.ok('["hello", 5]'))
    for name in ("update", "notify_sum", "notify_hello"):
        rpc.add(name, lambda req: req.ok("null"))
    return rpc


def asked(rpc: Rpc, frame: object) -> Any:
    """Return the decoded answer, ``""`` when there is none."""
    answer = rpc.process(frame if isinstance(frame, (str, bytes)) else json.dumps(frame))
    return json.loads(answer) if answer else ""


def request(method: str, params: object = None, number: object = 1) -> dict[str, object]:
    members: dict[str, object] = {"jsonrpc": "2.0", "method": method, "id": number}
    return members if params is None else {**members, "params": params}


def failed(code: int, message: str, number: object = None) -> dict[str, object]:
    return {"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": number}


INVALID = failed(-32600, "Invalid Request")
PARSE_ERROR = failed(-32700, "Parse error")

# Section 7 of the specification, word by word; None: nothing comes back.
EXAMPLES = {
    "positional parameters": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}',
        '{"jsonrpc": "2.0", "result": 19, "id": 1}',
    ),
    "positional parameters, the other way round": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}',
        '{"jsonrpc": "2.0", "result": -19, "id": 2}',
    ),
    "named parameters": (
        '{"jsonrpc": "2.0", "method": "subtract",'
        ' "params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
        '{"jsonrpc": "2.0", "result": 19, "id": 3}',
    ),
    "named parameters, the other way round": (
        '{"jsonrpc": "2.0", "method": "subtract",'
        ' "params": {"minuend": 42, "subtrahend": 23}, "id": 4}',
        '{"jsonrpc": "2.0", "result": 19, "id": 4}',
    ),
    "a notification": ('{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', None),
    "a notification of no known method": ('{"jsonrpc": "2.0", "method": "foobar"}', None),
    "no such method": (
        '{"jsonrpc": "2.0", "method": "foobar", "id": "1"}',
        '{"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "1"}',
    ),
    "no JSON": (
        '{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]',
        '{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}',
    ),
    "no request": (
        '{"jsonrpc": "2.0", "method": 1, "params": "bar"}',
        '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}',
    ),
    "a batch that is no JSON": (
        '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},'
        ' {"jsonrpc": "2.0", "method"]',
        '{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}',
    ),
    "an empty array": (
        "[]",
        '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}',
    ),
    "a batch of nothing valid": (
        "[1]",
        '[{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}]',
    ),
    "a batch of more that is not valid": (
        "[1,2,3]",
        '[{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"},'
        ' "id": null},'
        '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"},'
        ' "id": null},'
        '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"},'
        ' "id": null}]',
    ),
    "a batch": (
        '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},'
        '{"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},'
        '{"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},'
        '{"foo": "boo"},'
        '{"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},'
        '{"jsonrpc": "2.0", "method": "get_data", "id": "9"}]',
        '[{"jsonrpc": "2.0", "result": 7, "id": "1"},'
        '{"jsonrpc": "2.0", "result": 19, "id": "2"},'
        '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"},'
        ' "id": null},'
        '{"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"},'
        ' "id": "5"},'
        '{"jsonrpc": "2.0", "result": ["hello", 5], "id": "9"}]',
    ),
    "a batch of notifications": (
        '[{"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},'
        '{"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}]',
        None,
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_the_specification(rpc: Rpc, name: str) -> None:
    frame, answer = EXAMPLES[name]
    for same in (frame, frame.encode(), bytearray(frame.encode())):
        got = rpc.process(same)
        assert got == "" if answer is None else json.loads(got) == json.loads(answer)


# -- what comes in ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "token",
    ["7", "-0", "1.0", "1.50", "1e2", "1E400", '"7"', '"\\u00e9"', '"é\\n"', "null", "9" * 40],
)
def test_the_id_comes_back_as_it_was_written(rpc: Rpc, token: str) -> None:
    answer = rpc.process(f'{{"method": "get_data", "id": {token} }}')
    assert answer == f'{{"jsonrpc":"2.0","id":{token},"result":["hello", 5]}}'


@pytest.mark.parametrize("token", ["true", "false", "[1]", '{"a":1}'])
def test_an_id_of_another_kind_is_no_id(rpc: Rpc, token: str) -> None:
    assert asked(rpc, f'{{"jsonrpc":"2.0","method":"sum","id":{token}}}') == INVALID


@pytest.mark.parametrize("params", ["5", '"x"', "null", "true"])
def test_parameters_are_a_list_or_an_object(rpc: Rpc, params: str) -> None:
    frame = f'{{"jsonrpc":"2.0","method":"sum","params":{params},"id":4}}'
    assert asked(rpc, frame) == failed(-32600, "Invalid Request", 4)


@pytest.mark.parametrize("version", ['"1.0"', "2.0", "null", '"2.00"'])
def test_another_version_is_refused_and_none_is_taken_for_ours(rpc: Rpc, version: str) -> None:
    frame = f'{{"jsonrpc":{version},"method":"sum","id":4}}'
    assert asked(rpc, frame) == failed(-32600, "Invalid Request", 4)
    assert asked(rpc, '{"method":"sum","id":4}') == {"jsonrpc": "2.0", "id": 4, "result": 0}


@pytest.mark.parametrize(
    "frame",
    ["", " ", "x", "nul", "{", '{"method":"sum","id":1}x', '{"method":"sum","id":1}{}', "\ufeff[]"]
    + ["[1,]", "{'method':'sum'}", '{"id":NaN}', '{"id":Infinity}', '"\t"', "\udcff", "\ud800"],
)
def test_what_is_no_json_is_a_parse_error(rpc: Rpc, frame: str) -> None:
    assert asked(rpc, frame) == PARSE_ERROR


def test_bytes_that_are_not_utf8_are_a_parse_error(rpc: Rpc) -> None:
    assert asked(rpc, b'{"method":"sum","id":"\xff"}') == PARSE_ERROR


@pytest.mark.parametrize("value", ["7", '"sum"', "null", "true"])
def test_a_value_that_is_no_object_is_no_request(rpc: Rpc, value: str) -> None:
    assert asked(rpc, value) == INVALID


@pytest.mark.parametrize("wrong", [None, 5, 1.5, ["a"]])
def test_a_frame_is_text_or_bytes(rpc: Rpc, wrong: Any) -> None:
    with pytest.raises(TypeError, match="frame must be str or a bytes-like object"):
        rpc.process(wrong)


def test_a_frame_may_be_30_brackets_deep_and_no_more(rpc: Rpc) -> None:
    deep = "[" * 28 + "]" * 28
    answer = asked(rpc, f'[{{"method":"sum","params":{deep},"id":1}}]')
    assert answer[0]["error"]["code"] == -32603  # the sum of a list
    answer = asked(rpc, f'[{{"method":"sum","params":[{deep}],"id":1}}]')
    assert answer["error"] == {
        "code": -32700,
        "message": "Parse error",
        "data": "more than 30 brackets deep",
    }
    assert asked(rpc, "[" * 1_000_000)["error"]["code"] == -32700


def test_a_batch_has_a_limit(rpc: Rpc) -> None:
    one = '{"method":"sum","id":1}'
    assert len(asked(rpc, "[" + ",".join([one] * 1000) + "]")) == 1000
    answer = asked(rpc, "[" + ",".join([one] * 1001) + "]")
    assert answer["error"]["code"] == -32600
    assert answer["error"]["data"] == "more than 1000 in a batch"
    assert len(asked(Rpc(max_batch=0), "[" + ",".join([one] * 1001) + "]")) == 1001


def test_a_name_twice_in_an_object_has_no_meaning(rpc: Rpc) -> None:
    for frame in (
        '{"method":"sum","method":"update","id":1}',
        '{"method":"sum","id":1,"\\u0069d":2}',
        '{"method":"sum","id":1,"params":[{"a":1,"a":2}]}',
    ):
        answer = asked(rpc, frame)
        assert (answer["error"]["code"], answer["id"]) == (-32600, None)
        assert answer["error"]["data"] == "a name twice in an object"
    answers = asked(rpc, '[{"method":"sum","id":1,"id":2},{"method":"sum","id":3}]')
    assert [answer["id"] for answer in answers] == [None, 3]


def test_a_number_that_would_take_seconds_is_refused(rpc: Rpc) -> None:
    frame = '{"method":"sum","params":[%s],"id":1}'
    assert asked(rpc, frame % ("9" * 4300))["result"] == int("9" * 4300)
    assert asked(rpc, frame % ("9" * 1_000_000))["error"]["code"] == -32600


@pytest.mark.parametrize(
    "frame",
    [
        {"jsonrpc": "2.0", "result": 19, "id": 1},
        {"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": None},
    ],
)
def test_a_response_is_never_answered(rpc: Rpc, frame: dict[str, Any]) -> None:
    assert asked(rpc, frame) == ""
    taken: list[str] = []
    rpc.add("", lambda req: taken.append(req.frame))
    assert asked(rpc, frame) == ""
    assert [json.loads(text) for text in taken] == [frame]


# -- methods -----------------------------------------------------------------------------


def test_methods_are_listed_the_newest_first() -> None:
    rpc = Rpc()
    assert rpc.methods == []
    rpc.add("a", print)
    rpc.add("b.*", print)
    rpc.add("c", print)
    rpc.add("a", print)
    assert rpc.methods == ["a", "c", "b.*"]


def test_the_newest_name_or_pattern_that_fits_is_called() -> None:
    rpc = Rpc()

    def add(method: str, says: str) -> None:
        rpc.add(method, lambda req: req.ok(json.dumps(says)))

    def called(method: str) -> str:
        return str(asked(rpc, request(method)).get("result"))

    add("a.b", "name")
    assert called("a.b") == "name"
    add("a.?", "one character")
    assert called("a.b") == "one character"
    add("a.*", "any")
    assert (called("a.b"), called("a.bc")) == ("any", "any")
    add("a.b", "name again")
    assert (called("a.b"), called("a.c"), called("a.b/c")) == ("name again", "any", "None")
    add("#", "all")
    add("a.?", "one again")
    assert (called("a.b"), called("a.b/c")) == ("one again", "all")


def test_a_method_may_be_any_text() -> None:
    rpc = Rpc()
    for name in ("é", "a b", "\0", "rpc.x"):
        rpc.add(name, lambda req: req.ok(json.dumps(req.method)))
        assert asked(rpc, request(name))["result"] == name
    rpc.add("#", lambda req: req.ok('"pattern"'))
    assert asked(rpc, '{"method":"\\ud800","id":1}') == failed(-32601, "Method not found", 1)


@pytest.mark.parametrize("wrong", [None, 5, b"sum"])
def test_the_name_of_a_method_is_a_text(wrong: Any) -> None:
    with pytest.raises(TypeError, match="method must be str"):
        Rpc().add(wrong, print)


def test_wrong_arguments_are_refused_at_once() -> None:
    with pytest.raises(TypeError, match="handler must be callable, not int"):
        Rpc().add("a", 5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_batch must be 0 or more, not -1"):
        Rpc(max_batch=-1)
    with pytest.raises(TypeError, match="on_exception must be callable, not str"):
        Rpc(on_exception="log")  # type: ignore[arg-type]


# -- handlers ------------------------------------------------------------------------------


def test_a_request_shows_what_was_asked() -> None:
    rpc = Rpc()
    seen: list[tuple[object, ...]] = []
    rpc.add("#", lambda req: seen.append((req.frame, req.method, req.params, req.is_notification)))
    one = '{"method" : "a","params":{"x":[1,2.5,"é",null]},"id":7}'
    rpc.process(f' [ {one}, {{"method":"b"}} ] ')
    assert seen == [
        (one, "a", {"x": [1, 2.5, "é", None]}, False),
        ('{"method":"b"}', "b", None, True),
    ]


def test_an_error_carries_what_the_handler_says(rpc: Rpc) -> None:
    rpc.add("a", lambda req: req.err(-32602, 'say "x"\n', data_json='{"at": 1}'))
    rpc.add("b", lambda req: req.err(7, ""))
    error = {"code": -32602, "message": 'say "x"\n', "data": {"at": 1}}
    assert asked(rpc, request("a")) == {"jsonrpc": "2.0", "id": 1, "error": error}
    assert asked(rpc, request("b"))["error"] == {"code": 7, "message": ""}


@pytest.mark.parametrize(
    "result",
    ["", "hello", "[1,2", "NaN", "-Infinity", "{'a':1}", "1 2", '"\t"', b'"\xff"', "\ud800"]
    + ["[" * 100_000],
)
def test_a_result_that_is_no_json_is_a_value_error(rpc: Rpc, result: str | bytes) -> None:
    raised: list[ValueError] = []

    def handler(req: RpcReq) -> None:
        with pytest.raises(ValueError) as info:
            req.ok(result)
        raised.append(info.value)
        with pytest.raises(ValueError):
            req.err(1, "no", data_json=result)
        req.ok(b' {"deep": [[1e999]]} ')

    rpc.add("a", handler)
    answer = rpc.process(json.dumps(request("a")))
    assert answer == '{"jsonrpc":"2.0","id":1,"result": {"deep": [[1e999]]} }'
    assert len(raised) == 1


@pytest.mark.parametrize("wrong", [None, 5, ["a"], {"a": 1}])
def test_a_result_is_a_text(rpc: Rpc, wrong: Any) -> None:
    def handler(req: RpcReq) -> None:
        with pytest.raises(TypeError, match="result_json must be str or a bytes-like object"):
            req.ok(wrong)
        with pytest.raises(TypeError):
            req.err(wrong if not isinstance(wrong, int) else "5", "x")
        with pytest.raises(TypeError, match="message must be str"):
            req.err(1, wrong)
        req.ok("true")

    rpc.add("a", handler)
    assert asked(rpc, request("a"))["result"] is True


def test_an_answer_is_given_once(rpc: Rpc) -> None:
    def handler(req: RpcReq) -> None:
        req.ok("1")
        with pytest.raises(RuntimeError, match="already sent"):
            req.ok("2")
        with pytest.raises(RuntimeError, match="already sent"):
            req.err(1, "2")

    rpc.add("a", handler)
    assert asked(rpc, request("a"))["result"] == 1
    assert rpc.process('{"method":"a"}') == ""


def test_a_request_is_over_when_its_handler_has_returned(rpc: Rpc) -> None:
    kept: list[RpcReq] = []
    rpc.add("a", kept.append)
    answer = asked(rpc, request("a", [1]))
    assert answer["error"] == {"code": -32603, "message": "the handler gave no answer"}
    (req,) = kept
    assert (req.frame, req.method, req.params) == ("", "a", [1])
    for late in (lambda: req.ok("1"), lambda: req.err(1, "x")):
        with pytest.raises(RuntimeError, match="a: the handler has returned"):
            late()


def test_an_exception_is_an_internal_error_with_its_text(
    rpc: Rpc, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(req: RpcReq) -> None:
        raise KeyError("colour")

    rpc.add("a", handler)
    rpc.add("b", lambda req: next(iter(())))
    with caplog.at_level(logging.ERROR, "mongoose_py"):
        assert asked(rpc, request("a")) == failed(-32603, "'colour'", 1)
        assert asked(rpc, request("b")) == failed(-32603, "StopIteration", 1)
        assert rpc.process('{"method":"a"}') == ""
    assert [record.name for record in caplog.records] == ["mongoose_py"] * 3
    assert caplog.text.count("KeyError: 'colour'") == 2


def test_an_exception_can_be_taken_and_an_answer_given_before_stays() -> None:
    taken: list[tuple[str, str]] = []
    rpc = Rpc(on_exception=lambda exc, req: taken.append((str(exc), req.method)))

    def handler(req: RpcReq) -> None:
        req.ok("1")
        raise ValueError("afterwards")

    rpc.add("a", handler)
    assert asked(rpc, request("a"))["result"] == 1
    assert taken == [("afterwards", "a")]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_passes_through(kind: type[BaseException]) -> None:
    rpc = Rpc()
    kept: list[RpcReq] = []

    def handler(req: RpcReq) -> None:
        kept.append(req)
        raise kind

    rpc.add("a", handler)
    with pytest.raises(kind):
        rpc.process(json.dumps(request("a")))
    with pytest.raises(RuntimeError, match="has returned"):
        kept[0].ok("1")


def test_a_handler_may_add_methods_and_process_frames(rpc: Rpc) -> None:
    def handler(req: RpcReq) -> None:
        rpc.add("b", lambda req: req.ok("2"))
        req.ok(rpc.process(json.dumps(request("b", number="inner"))))

    rpc.add("a", handler)
    inner = {"jsonrpc": "2.0", "id": "inner", "result": 2}
    assert asked(rpc, request("a")) == {"jsonrpc": "2.0", "id": 1, "result": inner}


def test_threads_may_process_while_others_add() -> None:
    rpc = Rpc()
    rpc.add("echo", lambda req: req.ok(json.dumps(req.params)))
    wrong: list[object] = []

    def work(number: int) -> None:
        for turn in range(200):
            params = [number, turn]
            rpc.add(f"{number}.{turn}.*", print)
            if asked(rpc, request("echo", params))["result"] != params:
                wrong.append(params)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(rpc.methods) == 4 * 200 + 1


def test_of_many_threads_that_answer_one_is_first(rpc: Rpc) -> None:
    def handler(req: RpcReq) -> None:
        refused: list[str] = []
        start = threading.Barrier(4)

        def answer(number: int) -> None:
            start.wait()
            try:
                req.ok(str(number))
            except RuntimeError as exc:
                refused.append(str(exc))

        threads = [threading.Thread(target=answer, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert refused == ["a: the answer was already sent"] * 3

    rpc.add("a", handler)
    assert asked(rpc, request("a"))["result"] in range(4)
