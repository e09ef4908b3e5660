import json
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key, pkcs12
from typer.testing import CliRunner, Result

from tests.support.hostile_issuer import HostileIssuer, Reply, self_signed
from tests.support.identities import HOUR, login, token
from vestibule.cli import credentials
from vestibule.cli.credentials import Credentials
from vestibule.cli.exits import CommandError, Exit
from vestibule.cli.root import build
from vestibule.identity.certificates import new_authority, read_request
from vestibule.model.errors import VestibuleError

FILES = {"client.crt", "client.key", "client.p12"}
AUTHORITY = new_authority("vestibule.example")


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("gateway"))


class Signing(dict[str, Reply]):
    """Answers as a gateway does: it signs for the key that it is sent, or does what a test wants."""

    def __init__(self, gateway: HostileIssuer, spoil: Callable[[dict[str, Any]], object]) -> None:
        super().__init__({"/api/v1/targets": Reply({"targets": [], "port": 16432})})
        self._gateway, self.spoil = gateway, spoil

    def __contains__(self, path: object) -> bool:
        return path == "/api/v1/certificates" or super().__contains__(path)

    def __getitem__(self, path: str) -> Reply:
        if path != "/api/v1/certificates" or dict.__contains__(self, path):
            return super().__getitem__(path)
        asked = json.loads(self._gateway.requests[-1].body)
        person = login()
        one = token(person.who.login, kind="certificate", life=HOUR)
        signed = AUTHORITY.sign(read_request(asked["request"]), person, one)
        answer = {
            "id": str(one.id),
            "certificate": signed.public_bytes(Encoding.PEM).decode(),
            "authority": AUTHORITY.pem,
            "targets": asked.get("targets"),
            "expires_at": "2026-01-01T16:00:00.000000Z",
        }
        self.spoil(answer)
        return Reply(answer, status=201)


@dataclass
class Desk:
    """Somebody who is logged in, at a command line."""

    gateway: HostileIssuer
    folder: Path
    answers: Signing
    typed: dict[str, Any] = field(default_factory=dict)

    def run(self, *options: str, folder: Path | None = None) -> Result:
        """Run the command."""
        arguments = ("certificate", str(folder or self.folder), *options)
        return CliRunner().invoke(build(arguments), arguments)

    def asked(self) -> dict[str, Any]:
        """What the gateway was asked for."""
        [found] = [asked for asked in self.gateway.requests if asked.path == "/api/v1/certificates"]
        return dict(json.loads(found.body))

    def pkcs12(self, password: str) -> pkcs12.PKCS12KeyAndCertificates:
        """Open the file for Java."""
        return pkcs12.load_pkcs12((self.folder / "client.p12").read_bytes(), password.encode())


@pytest.fixture
def desk(pem: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with HostileIssuer(certificate=pem) as gateway:
        gateway.answers = answers = Signing(gateway, lambda answer: None)
        credentials.save(Credentials(gateway.issuer, "dev1", "vst_" + "t" * 43, "soon", str(pem)))
        yield Desk(gateway, tmp_path / "made" / "certificate", answers)


def failing(done: Result) -> VestibuleError:
    assert isinstance(done.exception, VestibuleError), done.output
    return done.exception


def exit_of(error: VestibuleError) -> Exit:
    assert isinstance(error, CommandError)
    return error.code


def test_the_files_fit_each_other_and_are_their_owners_alone(desk: Desk) -> None:
    done = desk.run()
    assert done.exit_code == 0, done.output
    password = done.stdout.strip()

    certificate = x509.load_pem_x509_certificate((desk.folder / "client.crt").read_bytes())
    key = load_pem_private_key((desk.folder / "client.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == certificate.public_key()
    java = desk.pkcs12(password)
    assert isinstance(java.key, ec.EllipticCurvePrivateKey)
    assert java.key.private_numbers() == key.private_numbers()
    # The one name that PostgreSQL's JDBC driver looks for.
    assert java.cert is not None
    assert (java.cert.certificate, java.cert.friendly_name) == (certificate, b"user")
    assert stat.S_IMODE(desk.folder.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in desk.folder.iterdir()} == dict.fromkeys(
        FILES, 0o600
    )


def test_the_private_key_stays_here(desk: Desk) -> None:
    desk.run()
    request = x509.load_pem_x509_csr(desk.asked()["request"].encode())

    assert request.is_signature_valid
    assert (list(request.subject), list(request.extensions)) == ([], [])
    assert all(b"PRIVATE" not in asked.body for asked in desk.gateway.requests)


def test_a_password_that_is_made_is_all_of_standard_output_and_told_nowhere_else(desk: Desk) -> None:
    done = desk.run()

    assert len(done.stdout.strip()) == 24
    assert done.stdout.strip() not in done.stderr
    assert b"PRIVATE" not in done.stdout_bytes + done.stderr_bytes
    other = desk.run()
    assert other.stdout != done.stdout


def test_somebody_is_told_how_to_connect(desk: Desk) -> None:
    told = desk.run("--target", "core-banking").stderr

    assert "of dev1, good until 2026-01-01T16:00:00.000000Z" in told
    assert (
        f"psql 'host=127.0.0.1 port=16432 user=dev1+core-banking dbname=DATABASE sslmode=verify-full "
        f"sslrootcert={credentials.load().ca} sslcert={desk.folder}/client.crt sslkey={desk.folder}/client.key'"
    ) in told
    assert f"sslkey={desk.folder}/client.p12" in told


def test_a_password_may_come_from_a_file_or_a_variable_and_is_then_not_printed(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text("correct horse\n")
    done = desk.run("--password-from", f"file:{secret}")
    assert (done.exit_code, done.stdout) == (0, "")
    assert desk.pkcs12("correct horse").key is not None
    assert "correct horse" not in done.stderr

    monkeypatch.setenv("PKCS12_PASSWORD", "battery staple")
    assert desk.run("--password-from", "env:PKCS12_PASSWORD").stdout == ""
    assert desk.pkcs12("battery staple").key is not None


def test_a_password_in_the_place_of_where_it_is_is_not_taken_and_not_repeated(desk: Desk, tmp_path: Path) -> None:
    error = failing(desk.run("--password-from", "correct horse"))
    assert "correct" not in str(error)
    assert "env:NAME and file:/path" in str(error)

    open_to_all = tmp_path / "secret"
    open_to_all.write_text("correct horse")
    open_to_all.chmod(0o644)
    assert "chmod 600" in str(failing(desk.run("--password-from", f"file:{open_to_all}")))
    assert desk.gateway.paths == []


@pytest.mark.parametrize("password", ["pässword", "two\nlines"])
def test_a_password_that_programs_read_differently_is_refused(desk: Desk, tmp_path: Path, password: str) -> None:
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text(password)
    error = failing(desk.run("--password-from", f"file:{secret}"))

    assert exit_of(error) is Exit.USAGE
    assert password not in str(error)
    assert desk.gateway.paths == []


def test_target_and_life_are_asked_for(desk: Desk) -> None:
    desk.run("--target", "core", "--target", "payments", "--life", "15m")

    asked = desk.asked()
    assert (asked["targets"], asked["life"]) == (["core", "payments"], 900)


def test_programs_get_json(desk: Desk) -> None:
    done = desk.run("--json")
    shown = json.loads(done.stdout)

    assert Path(shown["certificate"]) == desk.folder / "client.crt"
    assert Path(shown["pkcs12"]) == desk.folder / "client.p12"
    assert desk.pkcs12(shown["pkcs12_password"]).key is not None
    assert {"id", "expires_at", "targets", "key"} <= shown.keys()


def test_the_same_command_again_renews_key_and_certificate_in_place(desk: Desk) -> None:
    desk.run()
    before = {path.name: path.read_bytes() for path in desk.folder.iterdir()}
    desk.run()
    after = {path.name: path.read_bytes() for path in desk.folder.iterdir()}

    assert before.keys() == after.keys() == FILES
    assert all(before[name] != after[name] for name in FILES)


def test_a_folder_that_others_can_write_to_is_refused_before_anything_is_made(desk: Desk) -> None:
    desk.folder.mkdir(parents=True)
    desk.folder.chmod(0o777)
    error = failing(desk.run())

    assert "chmod 700" in str(error)
    assert desk.gateway.paths == []
    assert list(desk.folder.iterdir()) == []


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(desk: Desk, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    desk.folder.mkdir(parents=True, mode=0o700)
    (desk.folder / "client.key").symlink_to(elsewhere)

    assert desk.run().exit_code == 0
    assert elsewhere.read_text() == "mine"
    assert not (desk.folder / "client.key").is_symlink()


def test_a_folder_that_cannot_be_made_is_said(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = failing(desk.run(folder=tmp_path / "file" / "below"))

    assert exit_of(error) is Exit.USAGE
    assert desk.gateway.paths == []


@pytest.mark.parametrize("spoilt", ["certificate", "id", "other key", "no certificate"])
def test_an_answer_that_is_none_leaves_no_files(desk: Desk, spoilt: str) -> None:
    def spoil(answer: dict[str, Any]) -> None:
        match spoilt:
            case "other key":
                person = login()
                key = ec.generate_private_key(ec.SECP256R1()).public_key()
                other = AUTHORITY.sign(key, person, token(person.who.login, kind="certificate"))
                answer["certificate"] = other.public_bytes(Encoding.PEM).decode()
            case "no certificate":
                answer["certificate"] = str(uuid4())
            case _:
                del answer[spoilt]

    desk.answers.spoil = spoil
    assert "does not answer as a gateway does" in str(failing(desk.run()))
    assert list(desk.folder.iterdir()) == []


def test_a_refusal_is_told_in_the_gateways_words(desk: Desk) -> None:
    desk.answers["/api/v1/certificates"] = Reply({"detail": "the log-in has ended"}, status=403)

    assert str(failing(desk.run())) == "the log-in has ended"
    assert list(desk.folder.iterdir()) == []


def test_nobody_logged_in_gets_no_certificate(desk: Desk) -> None:
    credentials.remove()

    assert exit_of(failing(desk.run())) is Exit.USAGE
