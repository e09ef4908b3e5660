import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from vestibule.cli.exits import CommandError
from vestibule.cli.loopback import MAX_OPEN, Loopback

STATE = "state-of-this-log-in"


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    with Loopback(STATE) as made:
        yield made


def get(loopback: Loopback, query: str, path: str = "/callback") -> httpx2.Response:
    return httpx2.get(f"http://127.0.0.1:{loopback.port}{path}?{query}", trust_env=False)


def test_the_answer_with_the_right_state_is_taken(loopback: Loopback) -> None:
    page = get(loopback, f"code=abc&state={STATE}&iss=https%3A%2F%2Fv.example")

    assert page.status_code == 200
    assert "close this window" in page.text
    assert loopback.wait(1) == {"code": "abc", "state": STATE, "iss": "https://v.example"}


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("code=abc&state=guessed", "/callback"),
        ("code=abc", "/callback"),
        ("code=abc&state=", "/callback"),
        (f"code=abc&state={STATE}&state={STATE}", "/callback"),
        (f"code=abc&code=def&state={STATE}", "/callback"),
        (f"code=abc&state={STATE}", "/other"),
    ],
)
def test_whatever_else_comes_in_changes_nothing(loopback: Loopback, query: str, path: str) -> None:
    assert get(loopback, query, path).status_code == 404
    with pytest.raises(CommandError):
        loopback.wait(0.01)
    assert get(loopback, f"code=right&state={STATE}").status_code == 200
    assert loopback.wait(1)["code"] == "right"


def test_only_the_first_answer_counts(loopback: Loopback) -> None:
    get(loopback, f"code=first&state={STATE}")

    assert get(loopback, f"code=second&state={STATE}").status_code == 409
    assert loopback.wait(1)["code"] == "first"


def test_the_browser_has_its_page_before_the_program_goes_on(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = loopback._server.RequestHandlerClass
    reply, page_may_leave = handler._reply, threading.Event()  # type: ignore[attr-defined] - the handler's own

    def slow(*words: Any) -> None:
        page_may_leave.wait(5)
        reply(*words)

    monkeypatch.setattr(handler, "_reply", slow)
    with ThreadPoolExecutor(1) as browser:
        page = browser.submit(get, loopback, f"code=abc&state={STATE}")
        with pytest.raises(CommandError):
            loopback.wait(0.2)
        page_may_leave.set()
        assert "close this window" in page.result(5).text
    assert loopback.wait(1)["code"] == "abc"


def test_a_browser_that_has_gone_costs_nobody_their_log_in(loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(loopback._server.RequestHandlerClass, "_reply", gone)
    with pytest.raises(httpx2.HTTPError):
        get(loopback, f"code=abc&state={STATE}")
    assert loopback.wait(1)["code"] == "abc"


def test_a_refusal_is_shown_escaped(loopback: Loopback) -> None:
    page = get(loopback, f"error=access_denied&error_description=%3Cscript%3Eno%3C/script%3E&state={STATE}")

    assert "&lt;script&gt;no" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert loopback.wait(1)["error"] == "access_denied"


def test_other_methods_are_refused(loopback: Loopback) -> None:
    answer = httpx2.post(f"http://127.0.0.1:{loopback.port}/callback?code=a&state={STATE}", trust_env=False)

    assert answer.status_code == 501


def test_it_listens_on_the_loopback_address_alone(loopback: Loopback) -> None:
    assert loopback._server.server_address[0] == "127.0.0.1"
    assert loopback.redirect_uri == f"http://127.0.0.1:{loopback.port}/callback"


def test_nobody_is_waited_for_without_end(loopback: Loopback) -> None:
    with pytest.raises(CommandError, match=r"within 0\.05 seconds"):
        loopback.wait(0.05)


def test_clients_that_hold_still_hold_up_neither_the_answer_nor_the_end() -> None:
    began = time.monotonic()
    with Loopback(STATE) as loopback:
        silent = [socket.create_connection(("127.0.0.1", loopback.port)) for _ in range(MAX_OPEN - 1)]
        for connection in silent:
            connection.sendall(b"GET /callback")
        assert get(loopback, f"code=abc&state={STATE}").status_code == 200
    for connection in silent:
        connection.close()

    assert time.monotonic() - began < 4


def test_a_flood_of_clients_is_bounded() -> None:
    with Loopback(STATE) as loopback:
        before = threading.active_count()
        held = []
        for _ in range(40):
            connection = socket.create_connection(("127.0.0.1", loopback.port))
            connection.sendall(b"GET ")
            held.append(connection)
        time.sleep(0.2)
        assert threading.active_count() - before <= MAX_OPEN + 2
        for connection in held:
            connection.close()


def test_nothing_of_the_answer_is_logged(loopback: Loopback, capfd: pytest.CaptureFixture[str]) -> None:
    get(loopback, f"code=secret-code&state={STATE}")

    assert capfd.readouterr() == ("", "")
