import json
from typing import Any

import pytest

from tests.support.hostile_issuer import ABSENT
from vestibule.identity.failure import Failure, LoginRefused
from vestibule.identity.provider import Metadata, Provider, discovery_url, read_metadata
from vestibule.model.errors import ConfigurationError

ISSUER = "https://idp.example/realm"
CORP = Provider("corp", ISSUER, "vestibule")


def document(**members: object) -> bytes:
    good = {
        "issuer": ISSUER,
        "authorization_endpoint": "https://idp.example/authorize",
        "token_endpoint": "https://tokens.example/token",
        "jwks_uri": "https://idp.example/jwks",
    }
    return json.dumps({name: value for name, value in {**good, **members}.items() if value is not ABSENT}).encode()


def read(provider: Provider = CORP, **members: object) -> Metadata:
    return read_metadata(document(**members), provider)


@pytest.mark.parametrize(
    ("issuer", "url"),
    [
        ("https://idp.example", "https://idp.example/.well-known/openid-configuration"),
        ("https://idp.example/", "https://idp.example/.well-known/openid-configuration"),
        ("https://idp.example/a/b", "https://idp.example/a/b/.well-known/openid-configuration"),
    ],
)
def test_an_issuer_describes_itself_below_its_own_path(issuer: str, url: str) -> None:
    assert discovery_url(issuer) == url


def test_a_document_is_read() -> None:
    metadata = read(authorization_response_iss_parameter_supported=True, userinfo_endpoint="https://idp.example/me")

    assert metadata.token_endpoint == "https://tokens.example/token"
    assert metadata.userinfo_endpoint == "https://idp.example/me"
    assert metadata.names_issuer


@pytest.mark.parametrize(
    "issuer", ["https://idp.example/realm/", "https://evil.example", "", None, 1, ABSENT, [ISSUER]]
)
def test_a_document_of_another_issuer_is_refused(issuer: object) -> None:
    with pytest.raises(LoginRefused, match="trailing slash") as refused:
        read(issuer=issuer)
    assert refused.value.failure is Failure.DISCOVERY


@pytest.mark.parametrize("member", ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"])
@pytest.mark.parametrize(
    "address",
    [
        "http://idp.example/x",
        "http://127.0.0.1/x",
        "http://localhost:80/x",
        "ftp://idp.example/x",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "//idp.example/x",
        "https:///x",
        "https://user:pass@idp.example/x",
        "https://idp.example/x#y",
        "https://idp.example:99999/x",
        "https://[::1/x",
        "https://idp.example/a b",
        "https://idp.example/\r\nX: y",
        "https://idp.example/\u202e",
        "https://idp.example/" + "a" * 3000,
        "",
        None,
        5,
        ["https://idp.example/x"],
    ],
)
def test_an_address_that_is_not_plain_https_is_refused(member: str, address: object) -> None:
    with pytest.raises(LoginRefused) as refused:
        read(**{member: address})
    assert refused.value.failure is Failure.DISCOVERY


@pytest.mark.parametrize("member", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
def test_a_document_without_an_address_that_is_needed_is_refused(member: str) -> None:
    with pytest.raises(LoginRefused):
        read(**{member: ABSENT})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.9.9.9"])
def test_plain_http_is_for_a_loopback_issuer_with_the_flag(host: str) -> None:
    local = Provider("test", f"http://{host}:9000", "vestibule", insecure_loopback_http=True)
    at_home = f"http://{host}:9000/x"

    found = read(local, issuer=local.issuer, authorization_endpoint=at_home, token_endpoint=at_home, jwks_uri=at_home)
    assert found.jwks_uri == at_home
    with pytest.raises(ConfigurationError, match="insecure_loopback_http"):
        Provider("test", f"http://{host}:9000", "vestibule")


def test_the_flag_does_not_let_an_issuer_elsewhere_point_to_this_machine() -> None:
    flagged = Provider("corp", ISSUER, "vestibule", insecure_loopback_http=True)

    with pytest.raises(LoginRefused):
        read(flagged, jwks_uri="http://127.0.0.1:8500/v1/secret")


def test_the_flag_does_not_allow_plain_http_elsewhere() -> None:
    with pytest.raises(ConfigurationError):
        Provider("corp", "http://idp.example", "vestibule", insecure_loopback_http=True)
    with pytest.raises(ConfigurationError):
        Provider("corp", "http://127.0.0.1.evil.example", "vestibule", insecure_loopback_http=True)


@pytest.mark.parametrize(
    ("offered", "secret", "chosen"),
    [
        (ABSENT, "s", "client_secret_basic"),
        (["client_secret_post", "client_secret_basic"], "s", "client_secret_basic"),
        (["client_secret_post"], "s", "client_secret_post"),
        (["private_key_jwt"], None, "none"),
        ("nonsense", "s", "client_secret_basic"),
    ],
)
def test_the_client_proves_itself_in_a_way_that_the_provider_takes(
    offered: object, secret: str | None, chosen: str
) -> None:
    provider = Provider("corp", ISSUER, "vestibule", secret)

    assert read(provider, token_endpoint_auth_methods_supported=offered).client_authentication == chosen


def test_a_provider_that_takes_no_secret_is_refused() -> None:
    with pytest.raises(LoginRefused):
        read(Provider("corp", ISSUER, "v", "s"), token_endpoint_auth_methods_supported=["private_key_jwt"])


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"leeway": 61}, "at most 60s"),
        ({"leeway": -1}, "at most 60s"),
        ({"algorithms": frozenset({"HS256"})}, "public key"),
        ({"algorithms": frozenset({"none"})}, "public key"),
        ({"algorithms": frozenset()}, "at least one algorithm"),
        ({"scopes": ("profile",)}, "openid"),
        ({"issuer": "https://idp.example/realm?x=1"}, "no query"),
        ({"issuer": "idp.example"}, "https"),
    ],
)
def test_a_configuration_that_proves_nothing_is_refused_with_what_to_write(wrong: dict[str, Any], hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint):
        Provider(**{"name": "corp", "issuer": ISSUER, "client_id": "vestibule", **wrong})


def test_the_client_secret_is_not_in_the_repr() -> None:
    assert "hidden" not in repr(Provider("corp", ISSUER, "vestibule", "hidden"))
