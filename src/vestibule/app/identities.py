"""The policy's identity providers, with what only the operator knows of them."""

from __future__ import annotations

from vestibule.identity.provider import Provider
from vestibule.model.names import SECOND
from vestibule.policy.document import Provider as PolicyProvider
from vestibule.settings import Settings
from vestibule.vault import Vault


def provider_of(provider: PolicyProvider, settings: Settings, vault: Vault) -> Provider:
    """Join what policy and settings say of one provider; its secret is read from the vault."""
    own = settings.providers.get(provider.name)
    secret = None if own is None or own.client_secret is None else vault.read(own.client_secret).decode()
    return Provider(
        name=provider.name,
        issuer=provider.issuer,
        client_id=provider.client_id,
        client_secret=secret,
        name_claim=provider.name_claim,
        groups_claim=provider.groups_claim,
        scopes=provider.scopes,
        algorithms=frozenset(provider.algorithms),
        leeway=provider.leeway_us // SECOND,
        max_token_age=provider.max_token_age_us // SECOND,
        login_life=provider.login_max_us // SECOND,
        ca=None if own is None or own.ca is None else str(own.ca),
        insecure_loopback_http=settings.insecure_loopback_http,
    )
