import json
import shlex
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest
from typer.testing import CliRunner, Result

from tests.support.hostile_issuer import HostileIssuer, Reply, self_signed
from vestibule.cli import credentials, login
from vestibule.cli.exits import CommandError, Exit
from vestibule.cli.root import build
from vestibule.identity.handover import challenge

TOKEN = "vst_" + "t" * 43
ENDS = "2026-01-01T16:00:00.000000Z"


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("gateway"))


@dataclass
class Desk:
    """A person at a command line: a gateway that says what a test wants, and a browser that brings an answer."""

    gateway: HostileIssuer
    pem: Path
    opened: list[str] = field(default_factory=list)
    answer: dict[str, str] = field(default_factory=lambda: {"code": "the-code"})
    pages: list[httpx2.Response] = field(default_factory=list)

    def run(self, *arguments: str) -> Result:
        """Run the program."""
        return CliRunner().invoke(build(arguments), arguments)

    def log_in(self, *options: str) -> Result:
        """Log in at the gateway."""
        return self.run("login", "--server", self.gateway.issuer, "--ca", str(self.pem), *options)

    def browse(self, url: str) -> bool:
        """Stand for the browser: come back with the answer."""
        self.opened.append(url)
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        answer = {"state": query["state"], "iss": self.gateway.issuer, **self.answer}
        back = f"{query['redirect_uri']}?{urlencode(answer)}"
        threading.Thread(target=lambda: self.pages.append(httpx2.get(back, trust_env=False))).start()
        return True


@pytest.fixture
def desk(pem: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("VESTIBULE_URL", raising=False)
    monkeypatch.delenv("VESTIBULE_CA", raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(login, "PATIENCE", 5.0)
    with HostileIssuer(certificate=pem) as gateway:
        gateway.answers["/login/token"] = Reply(
            {"access_token": TOKEN, "name": "dev1", "expires_at": ENDS, "ports": {"postgres": 16432}}
        )
        made = Desk(gateway, pem)
        monkeypatch.setattr(login.webbrowser, "open", made.browse)
        yield made


def test_somebody_logs_in_and_is_told_how_to_connect(desk: Desk) -> None:
    done = desk.log_in()

    assert done.exit_code == 0, done.output
    assert "Logged in as dev1" in done.stderr
    assert 'export PGPASSWORD="$(vestibule token)"' in done.stderr
    assert (
        f"psql 'host=127.0.0.1 port=16432 user=dev1+TARGET dbname=DATABASE sslmode=verify-full sslrootcert={desk.pem}'"
        in (done.stderr)
    )


def test_the_log_in_is_kept_for_the_other_commands(desk: Desk) -> None:
    desk.log_in()
    kept = credentials.load()

    assert (kept.server, kept.name, kept.token, kept.expires_at, kept.ca) == (
        desk.gateway.issuer,
        "dev1",
        TOKEN,
        ENDS,
        str(desk.pem),
    )


def test_the_code_is_swapped_with_the_verifier_of_the_challenge(desk: Desk) -> None:
    desk.log_in("--provider", "corp")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(desk.opened[0]).query).items()}
    swapped = desk.gateway.requests[-1].form

    assert desk.opened[0].startswith(f"{desk.gateway.issuer}/login?")
    assert (asked["code_challenge_method"], asked["provider"]) == ("S256", "corp")
    assert challenge(swapped["code_verifier"]) == asked["code_challenge"]
    assert (swapped["code"], swapped["redirect_uri"]) == ("the-code", asked["redirect_uri"])


def test_a_token_goes_to_a_pipe_and_never_to_a_terminal(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    done = desk.log_in()
    assert done.stdout == f"{TOKEN}\n"
    assert TOKEN not in done.stderr

    monkeypatch.setattr(login.sys, "stdout", _Terminal())
    login.login(desk.gateway.issuer, desk.pem)
    assert login.sys.stdout.text == ""  # type: ignore[attr-defined]


class _Terminal:
    text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        """Do nothing."""


def test_without_a_browser_the_address_is_printed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def say(text: str) -> None:
        told.append(text)
        if "/login?" in text:
            desk.browse(text.split()[-1])

    monkeypatch.setattr(login, "_say", say)
    assert desk.log_in("--no-browser").exit_code == 0
    assert len(desk.opened) == 1
    assert any("ssh -L" in text for text in told)


def test_without_a_screen_no_browser_is_opened_in_the_terminal(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(login, "PATIENCE", 0.1)

    assert isinstance(desk.log_in().exception, CommandError)
    assert desk.opened == []


def test_a_browser_that_does_not_open_leaves_the_address(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login.webbrowser, "open", lambda url: not desk.browse(url))

    assert "Open this address" in desk.log_in().stderr


def failing(desk: Desk, run: Callable[[], Result]) -> CommandError:
    done = run()
    assert isinstance(done.exception, CommandError), done.output
    return done.exception


def test_a_refusal_is_told_and_nothing_is_kept(desk: Desk) -> None:
    desk.answer = {"error": "access_denied", "error_description": "too many groups\x1b[2J"}

    error = failing(desk, desk.log_in)
    assert str(error) == "too many groups?[2J"
    assert not credentials.path().exists()
    assert "/login/token" not in desk.gateway.paths


def test_an_answer_with_another_state_does_not_count(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.answer = {"code": "the-code", "state": "guessed"}
    monkeypatch.setattr(login, "PATIENCE", 0.3)

    assert "nobody logged in" in str(failing(desk, desk.log_in))
    assert "/login/token" not in desk.gateway.paths


def test_an_answer_of_another_gateway_is_not_swapped_here(desk: Desk) -> None:
    desk.answer = {"code": "the-code", "iss": "https://other.example"}

    error = failing(desk, desk.log_in)
    assert "--server https://other.example" in str(error)
    assert "/login/token" not in desk.gateway.paths


def test_a_code_that_is_refused_is_told(desk: Desk) -> None:
    desk.gateway.answers["/login/token"] = Reply({"error_description": "the code is used"}, status=400)

    assert str(failing(desk, desk.log_in)) == "the code is used"


@pytest.mark.parametrize("body", [b"{}", b"[]", b"null"])
def test_an_answer_that_is_none_is_an_error(desk: Desk, body: bytes) -> None:
    desk.gateway.answers["/login/token"] = Reply(body)

    assert "as a gateway does" in str(failing(desk, desk.log_in))


def test_the_gateway_comes_from_the_option_the_environment_or_the_last_log_in(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = failing(desk, lambda: desk.run("login"))
    assert (error.code, "--server" in str(error)) == (Exit.USAGE, True)

    monkeypatch.setenv("VESTIBULE_URL", desk.gateway.issuer)
    monkeypatch.setenv("VESTIBULE_CA", str(desk.pem))
    assert desk.run("login").exit_code == 0
    monkeypatch.delenv("VESTIBULE_URL")
    monkeypatch.delenv("VESTIBULE_CA")
    assert desk.run("login").exit_code == 0
    assert credentials.load().ca == str(desk.pem)


def test_a_name_cannot_break_out_of_the_line_to_type(desk: Desk) -> None:
    desk.gateway.answers["/login/token"] = Reply(
        {"access_token": TOKEN, "name": "o'neil $(reboot) \\", "expires_at": ENDS}
    )

    line = next(line for line in desk.log_in().stderr.splitlines() if line.startswith("  psql"))
    assert "user=" in line
    quoted = line.removeprefix("  psql ")
    assert len(shlex.split(quoted)) == 1
    assert r"user='o\'neil $(reboot) \\+TARGET'" in shlex.split(quoted)[0]


def test_a_token_is_made_and_printed_alone(desk: Desk) -> None:
    desk.log_in()
    desk.gateway.answers["/api/v1/tokens"] = Reply({"id": "1", "token": TOKEN, "targets": None, "expires_at": ENDS})
    done = desk.run("token")

    assert (done.exit_code, done.stdout, done.stderr) == (0, f"{TOKEN}\n", "")
    assert desk.gateway.requests[-1].headers["Authorization"] == f"Bearer {TOKEN}"
    assert json.loads(desk.run("token", "--json").stdout)["expires_at"] == ENDS


def test_a_token_may_be_wanted_for_targets_and_for_a_while(desk: Desk) -> None:
    desk.log_in()
    desk.gateway.answers["/api/v1/tokens"] = Reply({"token": TOKEN})

    assert desk.run("token", "--target", "core", "--target", "pay", "--life", "15m").exit_code == 0
    assert desk.run("token").exit_code == 0
    wanted = [json.loads(asked.body) for asked in desk.gateway.requests if asked.path == "/api/v1/tokens"]
    assert wanted == [{"targets": ["core", "pay"], "life": 900}, {}]


@pytest.mark.parametrize("life", ["0s", "15", "1w", "-5m", "5 m", "1h30m", "h", "9" * 20 + "s"])
def test_a_life_that_is_no_time_is_a_wrong_use(desk: Desk, life: str) -> None:
    error = failing(desk, lambda: desk.run("token", "--life", life))

    assert error.code is Exit.USAGE
    assert desk.gateway.paths == []


def test_nobody_logged_in_gets_no_token(desk: Desk) -> None:
    assert failing(desk, lambda: desk.run("token")).code is Exit.USAGE


def test_logging_out_tells_the_gateway_and_forgets(desk: Desk) -> None:
    desk.log_in()
    desk.gateway.answers["/api/v1/logout"] = Reply(b"", status=204)
    done = desk.run("logout")

    assert done.exit_code == 0
    assert "dev1 is logged out" in done.stderr
    assert desk.gateway.paths[-1] == "/api/v1/logout"
    assert not credentials.path().exists()


def test_a_log_in_that_has_ended_already_is_forgotten(desk: Desk) -> None:
    desk.log_in()
    desk.gateway.answers["/api/v1/logout"] = Reply({"detail": "token expired"}, status=401)

    assert desk.run("logout").exit_code == 0
    assert not credentials.path().exists()


def test_a_gateway_that_cannot_be_told_leaves_the_log_in(desk: Desk) -> None:
    desk.log_in()
    desk.gateway.answers["/api/v1/logout"] = Reply(b"", status=503)

    error = failing(desk, lambda: desk.run("logout"))
    assert (error.code, "was not ended" in str(error)) == (Exit.UNREACHABLE, True)
    assert credentials.path().exists()
