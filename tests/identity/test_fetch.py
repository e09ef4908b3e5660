import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.hostile_issuer import HostileIssuer, Reply
from vestibule.identity import fetch
from vestibule.identity.failure import Failure, LoginRefused
from vestibule.identity.fetch import MAX_BODY, Fetcher, life
from vestibule.model.errors import ConfigurationError

HOUR = 3600


@pytest.fixture
def issuer() -> Iterator[HostileIssuer]:
    with HostileIssuer() as made:
        yield made


@pytest_asyncio.fixture
async def fetcher(loopback_pem: Path) -> AsyncIterator[Fetcher]:
    made = Fetcher(str(loopback_pem), insecure_loopback_http=True)
    yield made
    await made.close()


async def failure_of(fetcher: Fetcher, url: str) -> LoginRefused:
    with pytest.raises(LoginRefused) as refused:
        await fetcher.get(url)
    assert refused.value.failure is Failure.PROVIDER
    return refused.value


@pytest.mark.asyncio
async def test_a_document_is_fetched_with_the_time_it_may_be_kept(issuer: HostileIssuer, fetcher: Fetcher) -> None:
    issuer.answers["/doc"] = Reply(b"body", headers={"Cache-Control": "public, max-age=900"})

    answer = await fetcher.get(f"{issuer.issuer}/doc")
    assert (answer.status, answer.body, answer.life) == (200, b"body", 900)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", HOUR),
        ("max-age=1", 300),
        ("max-age=0", 300),
        ("MAX-AGE=600", 600),
        ('max-age="700"', 700),
        ("public,max-age=800,must-revalidate", 800),
        ("max-age=999999999", 24 * HOUR),
        ("no-store", 300),
        ("no-cache, max-age=9000", 300),
        ("max-age=nonsense", HOUR),
        ("s-max-age=5", HOUR),
        ("max-age=-5", HOUR),
    ],
)
def test_a_document_is_kept_as_the_server_says_within_five_minutes_and_a_day(header: str, seconds: int) -> None:
    assert life(header) == seconds


@pytest.mark.asyncio
async def test_a_body_of_more_than_512_kib_is_refused(issuer: HostileIssuer, fetcher: Fetcher) -> None:
    issuer.answers["/fits"] = Reply(b"x" * MAX_BODY)
    issuer.answers["/big"] = Reply(b"x" * (MAX_BODY + 1))

    assert len((await fetcher.get(f"{issuer.issuer}/fits")).body) == MAX_BODY
    assert "longer" in str(await failure_of(fetcher, f"{issuer.issuer}/big"))


@pytest.mark.asyncio
async def test_a_compressed_body_is_refused_before_it_grows(issuer: HostileIssuer, fetcher: Fetcher) -> None:
    issuer.answers["/zip"] = Reply(b"\x1f\x8b...", headers={"Content-Encoding": "gzip"})

    assert "compressed" in str(await failure_of(fetcher, f"{issuer.issuer}/zip"))


@pytest.mark.asyncio
async def test_a_redirect_on_the_same_host_is_followed(issuer: HostileIssuer, fetcher: Fetcher) -> None:
    issuer.answers["/old"] = Reply(status=302, headers={"Location": "/new"})
    issuer.answers["/new"] = Reply(b"here")

    assert (await fetcher.get(f"{issuer.issuer}/old")).body == b"here"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "where", ["http://localhost:{port}/x", "https://127.0.0.1:{port}/x", "//evil.example/x", "file:///etc/passwd"]
)
async def test_a_redirect_to_another_host_or_scheme_is_refused(
    issuer: HostileIssuer, fetcher: Fetcher, where: str
) -> None:
    port = issuer.issuer.rpartition(":")[2]
    issuer.answers["/old"] = Reply(status=301, headers={"Location": where.format(port=port)})

    assert "another host" in str(await failure_of(fetcher, f"{issuer.issuer}/old"))
    assert issuer.paths == ["/old"]


@pytest.mark.asyncio
async def test_redirects_without_end_are_refused(issuer: HostileIssuer, fetcher: Fetcher) -> None:
    issuer.answers["/loop"] = Reply(status=302, headers={"Location": "/loop"})

    assert "without end" in str(await failure_of(fetcher, f"{issuer.issuer}/loop"))
    assert len(issuer.paths) == 4


@pytest.mark.asyncio
async def test_a_posted_secret_never_follows_a_redirect(issuer: HostileIssuer, fetcher: Fetcher) -> None:
    issuer.answers["/token"] = Reply(status=307, headers={"Location": "/other"})

    with pytest.raises(LoginRefused, match="redirect"):
        await fetcher.post(f"{issuer.issuer}/token", {"code": "secret"}, {})
    assert issuer.paths == ["/token"]


@pytest.mark.asyncio
@pytest.mark.parametrize("reply", [Reply(b"late", delay=5), Reply(b"x" * 500, drip=0.05)], ids=["silent", "dripping"])
async def test_a_slow_answer_does_not_hold_a_log_in(
    issuer: HostileIssuer, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch, reply: Reply
) -> None:
    monkeypatch.setattr(fetch, "TIMEOUT", 0.2)
    issuer.answers["/slow"] = reply
    began = asyncio.get_running_loop().time()

    assert "within" in str(await failure_of(fetcher, f"{issuer.issuer}/slow"))
    assert asyncio.get_running_loop().time() - began < 2


@pytest.mark.asyncio
async def test_a_provider_that_is_down_is_an_answer_and_not_a_crash(fetcher: Fetcher) -> None:
    with HostileIssuer() as gone:
        url = f"{gone.issuer}/x"

    assert "cannot be reached" in str(await failure_of(fetcher, url))


@pytest.mark.asyncio
async def test_the_environment_does_not_choose_a_proxy(issuer: HostileIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    made = Fetcher(None, insecure_loopback_http=True)
    issuer.answers["/doc"] = Reply(b"body")

    assert (await made.get(f"{issuer.issuer}/doc")).body == b"body"
    await made.close()


@pytest.mark.asyncio
async def test_a_bearer_token_and_a_form_are_sent(issuer: HostileIssuer, fetcher: Fetcher) -> None:
    await fetcher.get(f"{issuer.issuer}/userinfo", bearer="abc")
    await fetcher.post(f"{issuer.issuer}/token", {"a": "b c"}, {"Authorization": "Basic xyz"})

    asked, posted = issuer.requests
    assert asked.headers["Authorization"] == "Bearer abc"
    assert (posted.form, posted.headers["Authorization"]) == ({"a": "b c"}, "Basic xyz")


@pytest.mark.asyncio
async def test_a_certificate_is_believed_only_if_the_operator_trusts_it(loopback_pem: Path) -> None:
    trusting = Fetcher(str(loopback_pem), insecure_loopback_http=False)
    doubting = Fetcher(None, insecure_loopback_http=False)
    with HostileIssuer(certificate=loopback_pem) as issuer:
        issuer.answers["/doc"] = Reply(b"body")

        assert (await trusting.get(f"{issuer.issuer}/doc")).body == b"body"
        await failure_of(doubting, f"{issuer.issuer}/doc")
    await trusting.close()
    await doubting.close()


def test_a_file_of_certificates_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")

    for name in ("empty.pem", "missing.pem"):
        with pytest.raises(ConfigurationError, match=name):
            Fetcher(str(tmp_path / name), insecure_loopback_http=False)
