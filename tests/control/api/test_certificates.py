from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.control_plane import PUBLIC, House
from tests.support.identities import CLIENT
from vestibule.model import wording
from vestibule.model.identity import Identity, Refusal

pytestmark = pytest.mark.asyncio


def request(key: ec.EllipticCurvePrivateKey | None = None) -> str:
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


async def proven(house: House, pem: str) -> Identity | Refusal:
    shown = x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
    return await house.app.state.sign_in.prover.prove_certificate(shown, "dev1+core", CLIENT)


async def test_a_certificate_is_made_proves_its_login_and_is_ended_like_a_token(house: House) -> None:
    token, key = await house.token(), ec.generate_private_key(ec.SECP256R1())
    made = await house.ask("POST", "/api/v1/certificates", token, json={"request": request(key)})
    assert made.status_code == 201, made.text
    new = made.json()
    signed = x509.load_pem_x509_certificate(new["certificate"].encode())
    assert signed.public_key() == key.public_key()
    assert f"{signed.serial_number:032x}" == new["id"].replace("-", "")
    assert new["authority"] == house.app.state.sign_in.authority.pem

    identity = await proven(house, new["certificate"])
    assert isinstance(identity, Identity)
    assert (identity.proof.method, identity.proof.credential) == ("certificate", new["id"])
    assert (await house.ask("DELETE", f"/api/v1/tokens/{new['id']}", token)).status_code == 204
    assert await proven(house, new["certificate"]) is Refusal.REVOKED


async def test_its_record_and_that_of_its_end_name_it_and_what_it_is(house: House) -> None:
    token = await house.token()
    new = (await house.ask("POST", "/api/v1/certificates", token, json={"request": request()})).json()
    await house.ask("DELETE", f"/api/v1/tokens/{new['id']}", token)

    issued, revoked = house.journal.records[-2:]
    assert [issued.members["event"], revoked.members["event"]] == ["token_issued", "token_revoked"]
    for record in (issued, revoked):
        assert record.members["proof"] == {"method": "certificate", "credential": new["id"]}


async def test_what_is_not_recorded_is_not_given(house: House) -> None:
    token = await house.token()
    house.journal.is_down = True
    answer = await house.ask("POST", "/api/v1/certificates", token, json={"request": request()})

    assert (answer.status_code, answer.json()["detail"]) == (503, wording.EVIDENCE_UNWRITABLE)


async def test_a_certificate_ends_with_the_login(house: House) -> None:
    token = await house.token()
    new = (await house.ask("POST", "/api/v1/certificates", token, json={"request": request()})).json()
    await house.ask("POST", "/api/v1/logout", token)

    assert await proven(house, new["certificate"]) is Refusal.REVOKED


async def test_a_certificate_may_be_short_and_for_some_targets(house: House) -> None:
    token = await house.token()
    wanted = {"request": request(), "targets": ["core"], "life": 60}
    new = (await house.ask("POST", "/api/v1/certificates", token, json=wanted)).json()

    identity = await proven(house, new["certificate"])
    assert isinstance(identity, Identity)
    assert identity.targets == {"core"}
    assert new["targets"] == ["core"]
    house.clock.pass_seconds(60)
    assert await proven(house, new["certificate"]) is Refusal.EXPIRED


async def test_a_target_that_is_not_ones_own_is_refused_with_the_names(house: House) -> None:
    wanted = {"request": request(), "targets": ["vault"]}
    answer = await house.ask("POST", "/api/v1/certificates", await house.token(), json=wanted)

    assert (answer.status_code, answer.json()["detail"]) == (422, wording.choose_target(["core", "payments"]))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"request": ""},
        {"request": "x" * 20_000},
        {"request": "-----BEGIN CERTIFICATE REQUEST-----"},
        {"request": request(), "subject": "admin"},
        {"request": request(), "life": 0},
        {"request": 7},
    ],
    ids=lambda wrong: ",".join(wrong),
)
async def test_a_wish_that_is_none_is_refused(house: House, wrong: object) -> None:
    answer = await house.ask("POST", "/api/v1/certificates", await house.token(), json=wrong)

    assert answer.status_code == 422
    assert "BEGIN" not in answer.text


async def test_nobody_gets_one_without_a_login_or_from_another_site(house: House) -> None:
    assert (await house.browser.post("/api/v1/certificates", json={"request": request()})).status_code == 401
    await house.browser.get(await house.begin())
    elsewhere = {"Origin": "https://evil.example"}
    refused = await house.browser.post("/api/v1/certificates", json={"request": request()}, headers=elsewhere)
    assert refused.status_code == 403
    given = await house.browser.post("/api/v1/certificates", json={"request": request()}, headers={"Origin": PUBLIC})
    assert given.status_code == 201


async def test_a_token_for_targets_makes_no_certificate_for_more(house: House) -> None:
    narrow = (await house.ask("POST", "/api/v1/tokens", await house.token(), json={"targets": ["core"]})).json()

    answer = await house.ask("POST", "/api/v1/certificates", narrow["token"], json={"request": request()})
    assert answer.status_code == 403
