"""The identity providers as the gateway will meet them, and the clock against theirs."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from email.utils import parsedate_to_datetime
from typing import Final

from vestibule.app.doctor.findings import Finding, fail, ok, unreachable, warn
from vestibule.identity.failure import Failure, LoginRefused
from vestibule.identity.fetch import Answer, Fetcher
from vestibule.identity.keys import read_key_set
from vestibule.identity.provider import Provider, discovery_url, read_metadata
from vestibule.model.errors import VestibuleError

#: A provider's header has whole seconds, and takes a moment to arrive.
NEAR: Final = 3.0


async def examine(provider: Provider, now: Callable[[], float] = time.time) -> AsyncIterator[Finding]:
    """Check discovery, keys and clock of one provider."""
    about = f"provider {provider.name}"
    try:
        fetcher = Fetcher(provider.ca, insecure_loopback_http=provider.insecure_loopback_http)
    except VestibuleError as error:
        yield fail(about, str(error), "name the file with the CA of the provider's certificate (providers.*.ca)")
        return
    try:
        answer = await fetcher.get(discovery_url(provider.issuer))
        seen = now()
        if answer.status != 200:
            raise LoginRefused(Failure.PROVIDER, f"its discovery document answers {answer.status}")
        metadata = read_metadata(answer.body, provider)
        yield ok(about, f"{provider.issuer} describes itself as configured")
        keys = await fetcher.get(metadata.jwks_uri)
        if keys.status != 200:
            raise LoginRefused(Failure.PROVIDER, f"its key set answers {keys.status}")
        yield _keys(about, keys, provider)
        yield clock(about, answer.date, seen, provider.leeway)
    except LoginRefused as error:
        level = unreachable if error.failure is Failure.PROVIDER else fail
        yield level(about, str(error), "nobody signs in until it answers as configured: look at issuer, ca and network")
    finally:
        await fetcher.close()


def _keys(about: str, answer: Answer, provider: Provider) -> Finding:
    keys = read_key_set(answer.body)
    usable = sum(any(key.fits(algorithm) for algorithm in provider.algorithms) for key in keys.keys)
    if usable:
        return ok(f"{about}: keys", f"{usable} can verify its tokens")
    algorithms = ", ".join(sorted(provider.algorithms))
    return fail(
        f"{about}: keys", f"none fits {algorithms}", "write the algorithm that it signs with, or have it changed"
    )


def clock(about: str, date: str, now: float, leeway: float) -> Finding:
    """Hold this machine's clock against the provider's."""
    about = f"{about}: clock"
    try:
        offset = now - parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError):
        return ok(about, "it does not say what time it is")
    said = f"ours is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} its own"
    if abs(offset) <= NEAR:
        return ok(about, "as ours")
    if abs(offset) < leeway:
        return warn(about, said, "keep time with chrony or the like; its tokens are refused beyond the leeway")
    return fail(about, said, f"set the clock: tokens are refused beyond {leeway:g} s, and records are stamped with it")
