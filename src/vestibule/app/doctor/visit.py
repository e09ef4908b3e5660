"""One visit: everything that is checked, in the order in which one would look, and what the evidence can promise."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Final

from vestibule.app.data import reach
from vestibule.app.doctor import own, providers, targets
from vestibule.app.doctor.findings import Finding, fail, ok, warn
from vestibule.app.identities import provider_of
from vestibule.model.errors import ConfigurationError, VestibuleError
from vestibule.model.names import TargetName
from vestibule.policy.document import Policy
from vestibule.server.dialer import Dialer
from vestibule.settings import Settings, read_policy
from vestibule.vault import Vault

#: How far the two clocks may move apart while we look.
DRIFT: Final = 0.5


async def visit(settings: Settings, target: str = "") -> AsyncIterator[Finding]:
    """Check the gateway itself, its providers, and the target that is named."""
    wall, steady = time.time(), time.monotonic()
    policy = None
    try:
        policy = read_policy(settings)
    except ConfigurationError as error:
        yield fail("policy", str(error), "run: vestibule policy check; the gateway does not start with it")
    for finding in own.examine(settings, policy):
        yield finding
    if policy is not None:
        async for finding in _others(settings, policy, target):
            yield finding
    yield moved((time.time() - wall) - (time.monotonic() - steady))


async def _others(settings: Settings, policy: Policy, target: str) -> AsyncIterator[Finding]:
    vault = Vault()
    for each in policy.providers:
        try:
            provider = provider_of(each, settings, vault)
        except VestibuleError as error:
            yield fail(f"provider {each.name}", str(error), "nobody signs in there until then")
            continue
        async for finding in providers.examine(provider):
            yield finding
    if target:
        named = policy.targets.get(TargetName(target))
        if named is None:
            known = ", ".join(policy.targets) or "none"
            yield fail(f"target {target}", "the policy has no target of this name", f"there are: {known}")
            return
        dialer = Dialer(reach, vault, settings.limits.dial_timeout)
        async for finding in targets.examine(named, policy, dialer):
            yield finding


def moved(apart: float) -> Finding:
    """Say whether the wall clock was set while we looked."""
    if abs(apart) > DRIFT:
        return warn(
            "clock", f"it was set by {apart:+.1f} s while we looked", "keep time by slewing, with chrony or the like"
        )
    return ok("clock", "runs evenly")


def promises(findings: Sequence[Finding], target: str = "") -> list[str]:
    """Say what the evidence can promise as things are, and what it cannot."""
    found = {(finding.about, finding.level): finding for finding in findings}
    wrong = [finding.about for finding in findings if finding.level in ("fail", "unreachable")]
    if wrong:
        return [f"Nothing is promised before this is mended: {', '.join(dict.fromkeys(wrong))}."]
    said = ["A statement's decision is durable on this machine before the statement leaves for a target."]
    if not target:
        return said
    about = f"target {target}"
    said.append(
        f"Past the gateway it sees nothing: whoever else has the password of {target}'s account is not in the evidence."
    )
    if (f"{about}: application_name", "ok") in found:
        said.append(f"The sessions that {target} itself lists and logs can be joined with the evidence.")
    else:
        said.append(f"The sessions that {target} itself lists cannot be joined with the evidence.")
    if (f"{about}: account", "warn") in found:
        said.append(
            f"The account can do more at {target} than its grants say; what it does there by itself is not recorded."
        )
    if (f"{about}: its own log", "warn") in found:
        said.append(f"What is masked for people and in the evidence may stand in clear in {target}'s own log.")
    if (f"{about}: what outlives its session", "warn") in found:
        said.append("After a crash the outcome of a running statement is unknown: it may have run to its end.")
    return said
