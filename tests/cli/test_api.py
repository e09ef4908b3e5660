from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hostile_issuer import HostileIssuer, Reply, self_signed
from vestibule.cli import credentials
from vestibule.cli.api import Api, logged_in, printable, server_url
from vestibule.cli.credentials import Credentials
from vestibule.cli.exits import CommandError, Exit
from vestibule.model.errors import ConfigurationError


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("gateway"))


@pytest.fixture
def gateway(pem: Path) -> Iterator[HostileIssuer]:
    with HostileIssuer(certificate=pem) as made:
        yield made


def error_of(gateway: HostileIssuer, pem: Path, reply: Reply) -> CommandError:
    gateway.answers["/x"] = reply
    with Api(gateway.issuer, str(pem)) as api, pytest.raises(CommandError) as error:
        api.call("GET", "/x")
    return error.value


def test_an_answer_comes_back_as_json(gateway: HostileIssuer, pem: Path) -> None:
    gateway.answers["/x"] = Reply({"a": [1]})
    gateway.answers["/nothing"] = Reply(b"", status=204)

    with Api(gateway.issuer + "/", str(pem), "vst_token") as api:
        assert api.call("GET", "/x") == {"a": [1]}
        assert api.call("POST", "/nothing", form={"b": "c"}) is None
    assert gateway.requests[0].headers["Authorization"] == "Bearer vst_token"
    assert gateway.requests[1].form == {"b": "c"}


def test_a_problem_is_told_in_the_gateways_words(gateway: HostileIssuer, pem: Path) -> None:
    error = error_of(gateway, pem, Reply({"detail": 'vestibule: token expired; run "vestibule login"'}, status=401))

    assert (str(error), error.code) == ('token expired; run "vestibule login"', Exit.FAILED)


def test_an_oauth_error_is_told_by_its_description(gateway: HostileIssuer, pem: Path) -> None:
    reply = Reply({"error": "invalid_grant", "error_description": "the code is used"}, status=400)

    assert str(error_of(gateway, pem, reply)) == "the code is used"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"", b"null", b'{"detail": ""}'])
def test_an_error_without_words_is_told_by_its_number(gateway: HostileIssuer, pem: Path, body: bytes) -> None:
    error = error_of(gateway, pem, Reply(body, status=503))

    assert (str(error), error.code) == ("the gateway answers 503", Exit.UNREACHABLE)


def test_words_from_elsewhere_do_not_drive_the_terminal(gateway: HostileIssuer, pem: Path) -> None:
    error = error_of(gateway, pem, Reply({"detail": "\x1b]0;evil\x07\x1b[2Jgone"}, status=400))

    assert "\x1b" not in str(error)
    assert printable("a\x1b[31mb\n") == "a?[31mb?"


def test_an_answer_that_is_no_json_is_an_error(gateway: HostileIssuer, pem: Path) -> None:
    assert "as a gateway does" in str(error_of(gateway, pem, Reply(b"<html>")))


def test_a_redirect_is_not_followed_with_the_token(gateway: HostileIssuer, pem: Path) -> None:
    error_of(gateway, pem, Reply(status=302, headers={"Location": "/elsewhere"}))

    assert gateway.paths == ["/x"]


def test_a_certificate_that_is_not_trusted_names_the_option(gateway: HostileIssuer) -> None:
    with Api(gateway.issuer, None) as api, pytest.raises(CommandError, match="--ca") as error:
        api.call("GET", "/x")
    assert error.value.code is Exit.UNREACHABLE


def test_a_gateway_that_is_down_is_unreachable(pem: Path) -> None:
    with HostileIssuer(certificate=pem) as gone:
        server = gone.issuer
    with Api(server, str(pem)) as api, pytest.raises(CommandError, match="cannot be reached") as error:
        api.call("GET", "/x")
    assert error.value.code is Exit.UNREACHABLE


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="missing"):
        Api("https://vestibule.example", str(tmp_path / "missing.pem"))


@pytest.mark.parametrize(
    "text",
    ["http://vestibule.example", "vestibule.example", "", "https://", "https://h/path", "https://h?x", "file:///x"],
)
def test_a_token_goes_to_an_https_address_or_nowhere(text: str) -> None:
    with pytest.raises(CommandError, match="https://HOST:PORT") as error:
        server_url(text)
    assert error.value.code is Exit.USAGE


def test_the_gateway_of_the_last_log_in_is_asked(
    gateway: HostileIssuer, pem: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    credentials.save(Credentials(gateway.issuer, "dev1", "vst_kept", "later", str(pem)))
    gateway.answers["/x"] = Reply({})

    with logged_in() as api:
        api.call("GET", "/x")
    assert gateway.requests[0].headers["Authorization"] == "Bearer vst_kept"
