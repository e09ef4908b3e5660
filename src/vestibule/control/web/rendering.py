"""Pages from templates: every text escaped, every page under the same policy.

1. A page runs and loads what this host serves as files, and nothing that stands in the page itself.
2. No page is kept by a cache, shown in a frame of another, or told to another site.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vestibule.control.web import highlight
from vestibule.control.web.assets import ASSETS
from vestibule.control.web.visible import visible
from vestibule.control.web.wording import clock, duration

#: What goes with every page.
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Not `no-referrer`: a browser would then write `Origin: null` on our own forms, and no form could be trusted.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(visible=visible, sql=highlight.sql, value=highlight.value, clock=clock, duration=duration)
    made.globals["asset"] = {name: asset.address for name, asset in ASSETS.items()}
    return made


_ENVIRONMENT: Final = _environment()


def page(template: str, facts: Mapping[str, object], status: int = HTTPStatus.OK) -> HTMLResponse:
    """Make a page, or a part of one."""
    text = _ENVIRONMENT.get_template(template).render(facts)
    # A lone surrogate cannot be sent; the filters show those of hostile texts by their code.
    return HTMLResponse(text.encode(errors="replace"), status, dict(HEADERS))
