"""A provider and its clock, as they are met."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from tests.support.providers import CLIENT_ID, LightProvider
from vestibule.app.doctor.findings import Finding
from vestibule.app.doctor.providers import clock, examine
from vestibule.identity.provider import Provider

NOON = 1_796_126_400.0


@pytest.mark.parametrize(
    ("ours", "level", "said"),
    [
        (0, "ok", "as ours"),
        (2, "ok", "as ours"),
        (20, "warn", "20 s ahead of"),
        (-20, "warn", "20 s behind"),
        (61, "fail", "61 s ahead of"),
    ],
)
def test_a_clock_that_is_off_is_said_with_how_much(ours: int, level: str, said: str) -> None:
    found = clock("provider corp", formatdate(NOON, usegmt=True), NOON + ours, 60)
    assert found.level == level
    assert said in found.text


@pytest.mark.parametrize("date", ["", "noon", "Tue, 99 Foo 2026"])
def test_a_provider_that_tells_no_time_is_not_blamed(date: str) -> None:
    assert clock("provider corp", date, NOON, 60).level == "ok"


async def all_of(provider: Provider) -> dict[str, Finding]:
    return {finding.about: finding async for finding in examine(provider)}


@pytest.mark.asyncio
async def test_a_real_provider_is_found_with_its_keys_and_its_clock(light_provider: LightProvider) -> None:
    known = Provider("corp", light_provider.issuer, CLIENT_ID, ca=str(light_provider.ca))
    found = await all_of(known)
    assert set(found) == {"provider corp", "provider corp: keys", "provider corp: clock"}
    assert {finding.level for finding in found.values()} == {"ok"}


@pytest.mark.asyncio
async def test_a_provider_that_signs_otherwise_is_said(light_provider: LightProvider) -> None:
    known = Provider(
        "corp", light_provider.issuer, CLIENT_ID, ca=str(light_provider.ca), algorithms=frozenset({"EdDSA"})
    )
    found = await all_of(known)
    assert found["provider corp: keys"].level == "fail"
    assert "EdDSA" in found["provider corp: keys"].text


@pytest.mark.asyncio
async def test_a_provider_that_is_not_trusted_or_calls_itself_otherwise_is_said(light_provider: LightProvider) -> None:
    stranger = await all_of(Provider("corp", light_provider.issuer, CLIENT_ID))
    assert stranger["provider corp"].level == "unreachable"
    otherwise = await all_of(Provider("corp", light_provider.issuer + "/", CLIENT_ID, ca=str(light_provider.ca)))
    assert otherwise["provider corp"].level == "fail"
    assert "trailing slash" in otherwise["provider corp"].text


@pytest.mark.asyncio
async def test_a_file_of_no_certificates_is_said(light_provider: LightProvider) -> None:
    found = await all_of(Provider("corp", light_provider.issuer, CLIENT_ID, ca="/nothing"))
    assert found["provider corp"].level == "fail"
