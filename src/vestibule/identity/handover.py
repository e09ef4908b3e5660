"""How a command line and the log-in service agree: authorization code with PKCE, over the loopback address (RFC 8252).

Light on purpose: the command line imports it.
"""

from __future__ import annotations

import hashlib
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Final

#: The command line is a public client: its name proves nothing.
CLIENT_ID: Final = "vestibule-cli"


def new_verifier() -> str:
    """Make a verifier (RFC 7636, 4.1); also good as a `state`."""
    return secrets.token_urlsafe(48)


def challenge(verifier: str) -> str:
    """Make the S256 challenge of a verifier (RFC 7636, 4.2)."""
    return urlsafe_b64encode(hashlib.sha256(verifier.encode(errors="replace")).digest()).rstrip(b"=").decode()


def authorization_request(redirect_uri: str, state: str, verifier: str) -> Mapping[str, str]:
    """Write what the command line asks of `/login` (RFC 6749, 4.1.1)."""
    return {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": redirect_uri,
        "state": state,
        "code_challenge": challenge(verifier),
        "code_challenge_method": "S256",
    }


def token_request(redirect_uri: str, code: str, verifier: str) -> Mapping[str, str]:
    """Write what the command line asks of `/login/token` (RFC 6749, 4.1.3)."""
    return {
        "grant_type": "authorization_code",
        "client_id": CLIENT_ID,
        "redirect_uri": redirect_uri,
        "code": code,
        "code_verifier": verifier,
    }
