"""A light OpenID provider behind TLS, for the demo and for quick tests: a program of its own.

Its settings come as one JSON document on standard input: port, certificate, key, users, seconds.
"""

from __future__ import annotations

import json
import sys
import warnings
from datetime import timedelta

# The provider's library warns about itself at import; nothing here can answer that.
warnings.simplefilter("ignore")

import oidc_provider_mock  # noqa: E402
from werkzeug.serving import WSGIRequestHandler, make_server  # noqa: E402


class Keeping(WSGIRequestHandler):
    """Speaks HTTP/1.1 and gives up on a silent client."""

    protocol_version = "HTTP/1.1"
    timeout = 30


def main() -> None:
    """Serve until ended."""
    settings = json.load(sys.stdin)
    users = [oidc_provider_mock.User(sub=user["sub"], claims=user["claims"]) for user in settings["users"]]
    app = oidc_provider_mock.app(
        require_nonce=True,
        issue_refresh_token=False,
        access_token_max_age=timedelta(seconds=settings["id_token_seconds"]),
        user_claims=users,
    )
    tls = (settings["certificate"], settings["key"])
    server = make_server("127.0.0.1", settings["port"], app, threaded=True, ssl_context=tls, request_handler=Keeping)
    server.serve_forever()


if __name__ == "__main__":
    main()
