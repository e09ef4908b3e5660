"""A provider of the policy, with what the operator adds."""

from __future__ import annotations

from pathlib import Path

from tests.support.policies import HEAD, RULES
from tests.test_settings import TEXT
from vestibule.app.identities import provider_of
from vestibule.settings import load, read_policy
from vestibule.vault import Vault


def test_policy_and_settings_make_one_provider_whose_secret_is_in_no_repr(tmp_path: Path) -> None:
    for name in ("server.pem", "server.key", "corp.secret", "idp-ca.pem"):
        (tmp_path / name).write_text("hunter2")
        (tmp_path / name).chmod(0o600)
    (tmp_path / "policy.yaml").write_text(HEAD + RULES)
    (tmp_path / "vestibule.yaml").write_text(TEXT)
    settings = load(tmp_path / "vestibule.yaml")
    [entry, *_] = read_policy(settings).providers
    provider = provider_of(entry, settings, Vault())
    assert (provider.name, provider.issuer, provider.client_id) == (entry.name, entry.issuer, entry.client_id)
    assert provider.client_secret == "hunter2"
    assert provider.ca == str(tmp_path / "idp-ca.pem")
    assert "hunter2" not in repr(provider)
