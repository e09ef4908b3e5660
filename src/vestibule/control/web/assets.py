"""What pages load: style, script, icon; all from this host, each under an address that changes with its content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

FOLDER: Final = Path(__file__).parent / "static"
_TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_YEAR: Final = 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Asset:
    """A file, its type, and the address that pages load it from."""

    content: bytes
    type: str
    address: str


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(content, _TYPES[path.suffix], f"/static/{hashlib.sha256(content).hexdigest()[:16]}/{path.name}")


#: Every file by its name.
ASSETS: Final[Mapping[str, Asset]] = {
    path.name: _read(path) for path in sorted(FOLDER.iterdir()) if path.suffix in _TYPES
}
_BY_ADDRESS: Final = {asset.address: asset for asset in ASSETS.values()}

router = APIRouter(include_in_schema=False)


@router.get("/static/{digest}/{name}")
async def asset(request: Request) -> Response:
    """Give a file to keep; another content has another address."""
    found = _BY_ADDRESS.get(request.url.path)
    if found is None:
        return Response("not found\n", HTTPStatus.NOT_FOUND, {"Cache-Control": "no-store"}, "text/plain")
    headers = {"Cache-Control": f"public, max-age={_YEAR}, immutable", "X-Content-Type-Options": "nosniff"}
    # An image that is opened by itself is a document with rights of its own.
    headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return Response(found.content, headers=headers, media_type=found.type)
