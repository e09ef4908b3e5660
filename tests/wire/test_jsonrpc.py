import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.wire.jsonrpc import (
    LINE_LIMIT,
    Failure,
    JsonRpcError,
    Lines,
    Message,
    Notification,
    Request,
    Result,
    decode,
    encode,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
IDS = st.integers(0, 2**53)
PARAMS = st.dictionaries(st.text(), VALUES, max_size=4)
MESSAGES = st.one_of(
    st.builds(Request, IDS, st.text(), PARAMS),
    st.builds(Notification, st.text(), PARAMS),
    st.builds(Result, IDS, VALUES),
    st.builds(Failure, st.none() | IDS, st.integers(-(2**31), 2**31), st.text()),
)


@given(MESSAGES)
def test_what_was_written_reads_as_the_same_message(message: Message) -> None:
    assert decode(encode(message)) == message


@given(MESSAGES)
def test_a_message_is_one_line(message: Message) -> None:
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line)["jsonrpc"] == "2.0"


@given(st.lists(MESSAGES, max_size=5), st.data())
def test_a_stream_cut_anywhere_gives_the_same_messages(messages: list[Message], data: st.DataObject) -> None:
    stream = b"".join(map(encode, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    lines = Lines()
    received = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        received += lines.feed(stream[start:end])
    assert received == messages


@given(st.binary(max_size=200))
def test_arbitrary_bytes_give_messages_or_the_defined_error(data: bytes) -> None:
    try:
        Lines().feed(data + b"\n")
    except JsonRpcError:
        return


@given(VALUES)
def test_arbitrary_json_gives_a_message_or_the_defined_error(value: object) -> None:
    try:
        decode(json.dumps(value).encode())
    except JsonRpcError:
        return


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"1",
        b'{"jsonrpc":"1.0","method":"m"}',
        b'{"jsonrpc":"2.0"}',
        b'{"jsonrpc":"2.0","method":7}',
        b'{"jsonrpc":"2.0","method":"m","params":[1]}',
        b'{"jsonrpc":"2.0","method":"m","id":"1"}',
        b'{"jsonrpc":"2.0","method":"m","id":true}',
        b'{"jsonrpc":"2.0","id":1,"result":1,"error":{"code":1,"message":"x"}}',
        b'{"jsonrpc":"2.0","result":1}',
        b'{"jsonrpc":"2.0","id":1,"error":"x"}',
        b'{"jsonrpc":"2.0","id":1,"error":{"code":"x","message":"x"}}',
        b'[{"jsonrpc":"2.0","method":"m"}]',
        b"[" * 5_000,
        b'{"jsonrpc":"2.0","method":"m","params":{"a":NaN}}',
        b"\xff\xfe",
    ],
)
def test_what_is_not_one_message_is_refused(line: bytes) -> None:
    with pytest.raises(JsonRpcError):
        decode(line)


def test_a_line_at_the_limit_passes_and_one_byte_more_does_not() -> None:
    empty = len(encode(Notification("m", {"text": ""})))
    longest = encode(Notification("m", {"text": "x" * (LINE_LIMIT - empty)}))
    assert len(longest) == LINE_LIMIT
    assert len(Lines().feed(longest)) == 1
    with pytest.raises(ValueError, match="at most"):
        encode(Notification("m", {"text": "x" * (LINE_LIMIT - empty + 1)}))
    with pytest.raises(JsonRpcError):
        Lines().feed(b"x" * LINE_LIMIT)


def test_an_endless_line_is_refused_before_it_fills_memory() -> None:
    lines = Lines()
    for _ in range(LINE_LIMIT // 1_024 - 1):
        assert lines.feed(b"x" * 1_024) == []
    with pytest.raises(JsonRpcError):
        lines.feed(b"x" * 1_024)


def test_no_repr_shows_what_a_message_carries() -> None:
    shown = repr(Request(1, "prove", {"token": "vst_secret"})) + repr(Result(1, "vst_secret"))
    assert "vst_secret" not in shown + repr(Notification("n", {"token": "vst_secret"}))


def test_a_value_that_json_cannot_carry_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError) as caught:
        encode(Result(1, {"key": object()}))  # type: ignore[dict-item] # the mistake under test
    assert "object at" not in str(caught.value)
