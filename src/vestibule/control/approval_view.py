"""What people see of a request, and the hash that says which of them they saw.

1. Neither the keyed commitment nor the key's id is shown: nobody needs them to answer.
2. The hash covers all that is shown of the request and nothing that changes while it waits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from vestibule.model.approval import Request
from vestibule.model.names import Digest, stamp
from vestibule.model.record import Json


def view(request: Request) -> dict[str, Json]:
    """Give what is shown of a request."""
    who = request.requester
    return {
        "approval": request.approval,
        "requester": {"iss": who.issuer, "sub": who.subject, "name": who.name, "type": who.type},
        "groups": sorted(request.groups),
        "ip": request.client.ip,
        "port": request.client.port,
        "banner": request.banner,
        "session": str(request.session),
        "number": request.number,
        "protocol": request.protocol,
        "target": request.target,
        "account": request.account,
        "database": request.database,
        "search_path": request.search_path,
        "text": request.text,
        "text_bytes": request.text_bytes,
        "parameters": [dict(parameter) for parameter in request.parameters],
        "operations": [dict(operation) for operation in request.operations],
        "rule": request.rule.name,
        "policy": request.rule.policy,
        "reason": request.reason,
        "approvers": sorted(request.approvers),
        "quorum": request.quorum,
        "requested_at": stamp(request.requested_at),
        "expires_at": stamp(request.expires_at),
        "live": request.live,
        "scope": request.scope,
    }


def shown_bytes(shown: Mapping[str, Json]) -> bytes:
    """Write what is shown in its one form: ASCII, names sorted, no spaces."""
    return json.dumps(shown, sort_keys=True, separators=(",", ":")).encode()


def shown_hash(request: Request) -> Digest:
    """Say by SHA-256 what somebody saw who looked at `request`."""
    return Digest(hashlib.sha256(shown_bytes(view(request))).hexdigest())
