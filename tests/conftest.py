"""Fixtures that every test may use, and what a run promises: no skips, logs shown with a failure."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.certificates import Authority
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import PostgresFactory, PostgresServer
from tests.support.providers import LightProvider, StrictProvider
from tests.support.sandbox import Sandbox

TESTS = Path(__file__).parent
#: Tests with sockets, databases, disks and processes of their own.
BUSY = frozenset({"app", "control", "server", "stores"})
#: A time limit (seconds) from which on a test counts as one that takes minutes.
MINUTES = 600
#: Files of many tests that together take seconds.
MANY = frozenset(
    {
        "cli/test_login.py",
        "cli/test_loopback.py",
        "docs/test_logs.py",
        "evidence/test_verify.py",
        "protocols/postgres/test_asking.py",
        "protocols/postgres/test_masked_frames.py",
        "protocols/postgres/test_rows.py",
        "test_benchmarks.py",
    }
)
PROPERTY_TIMEOUT = float(os.environ.get("PROPERTY_TIMEOUT", "120"))

# Two busy cores make any deadline a matter of luck; a hang is caught by pytest-timeout.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# `make check` has a minute; `make test` gives every property hypothesis's usual hundred examples.
settings.register_profile("quick", parent=settings.get_profile("default"), max_examples=10)
settings.register_profile(
    "fuzz", parent=settings.get_profile("default"), max_examples=int(os.environ.get("FUZZ_EXAMPLES", "5000"))
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run fail over a skipped test."""
    parser.addoption("--forbid-skips", action="store_true", help="a skipped test fails the run")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by what they use: `server` starts real programs, `property` has generated input, `slow` takes long."""
    for item in items:
        path = item.path.relative_to(TESTS)
        if path.parts[0] in BUSY or str(path) in MANY:
            item.add_marker(pytest.mark.slow)
        if "sandbox" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.server)
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker(pytest.mark.property)
            # An alarm would be an example to shrink, for ever: the process is ended instead, with all stacks shown.
            item.add_marker(pytest.mark.timeout(PROPERTY_TIMEOUT, method="thread"))
    # What takes minutes comes first: at the end one worker would be alone with it.
    items.sort(key=lambda item: not _takes_minutes(item))


def _takes_minutes(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("timeout")
    return marker is not None and bool(marker.args) and marker.args[0] >= MINUTES


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run over a skipped test where that was asked for."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and session.config.getoption("--forbid-skips") and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say why the run fails if it is over skips."""
    if config.getoption("--forbid-skips") and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("FAILED: tests were skipped, and nothing may be", red=True)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """The run's folder and programs."""
    with Sandbox() as made:
        yield made


@pytest.fixture(scope="session")
def authority(sandbox: Sandbox) -> Authority:
    """The run's certificate authority."""
    return Authority(sandbox)


@pytest.fixture(scope="session")
def postgres_factory(sandbox: Sandbox, authority: Authority) -> PostgresFactory:
    """Makes private servers: `postgres_factory.make(15)`; the test stops them."""
    return PostgresFactory(sandbox, authority)


@pytest.fixture(scope="session")
def postgres15(postgres_factory: PostgresFactory) -> PostgresServer:
    """Debian's PostgreSQL 15, shared: tests that change its data take a database of their own."""
    return postgres_factory.make(15)


@pytest.fixture(scope="session")
def postgres18(postgres_factory: PostgresFactory) -> PostgresServer:
    """PostgreSQL 18, shared as well."""
    return postgres_factory.make(18)


@pytest.fixture(scope="session")
def light_provider(sandbox: Sandbox, authority: Authority) -> LightProvider:
    """A running light OpenID provider."""
    provider = LightProvider(sandbox, authority)
    provider.start()
    return provider


@pytest.fixture
def make_strict_provider(sandbox: Sandbox, authority: Authority) -> Iterator[StrictFactory]:
    """Starts private strict providers: `make_strict_provider("https://.../callback")`."""
    factory = StrictFactory(sandbox, authority)
    yield factory
    factory.stop()


@pytest.fixture(scope="session")
def gateway(
    sandbox: Sandbox, authority: Authority, light_provider: LightProvider, postgres15: PostgresServer
) -> Gateway:
    """A running gateway, shared: tests that stop it, change its policy or fill its disk take a private one."""
    made = Gateway(sandbox, authority, light_provider, {TARGET: postgres15})
    made.start()
    return made


@pytest.fixture
def gateways(sandbox: Sandbox, authority: Authority, light_provider: LightProvider) -> Iterator[GatewayFactory]:
    """Makes private gateways: `gateways.make({TARGET: postgres18}, policy=...)`."""
    factory = GatewayFactory(sandbox, authority, light_provider)
    yield factory
    factory.close()


class StrictFactory:
    """Makes strict providers and stops them."""

    def __init__(self, sandbox: Sandbox, authority: Authority) -> None:
        self._sandbox, self._authority = sandbox, authority
        self._made: list[StrictProvider] = []

    def __call__(self, *redirect_uris: str) -> StrictProvider:
        """Start one that knows Vestibule by these redirect URIs."""
        provider = StrictProvider(self._sandbox, self._authority, redirect_uris=redirect_uris)
        self._made.append(provider)
        provider.start()
        return provider

    def stop(self) -> None:
        """End all of them."""
        for provider in self._made:
            provider.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Note where the programs' logs are before a test."""
    if Sandbox.current is not None:
        Sandbox.current.remember_logs()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what the programs wrote meanwhile."""
    report = yield
    if report.failed and Sandbox.current is not None:
        report.sections += [(f"log of {name}", text) for name, text in Sandbox.current.new_log_text()]
    return report
