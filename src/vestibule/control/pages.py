"""The few pages that a browser sees while somebody signs in: one look, no script, nothing from elsewhere.

1. Every text is escaped here, whoever wrote it.
2. The policy that goes with a page allows its own style, by hash, and nothing else.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from html import escape
from typing import Final

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #16202b; --soft: #55636f; --ground: #eef1f4; --card: #fff; --line: #d5dce2;
  --good: #0b7a4b; --bad: #b3261e; --link: #0a5bb5 }
@media (prefers-color-scheme: dark) { :root { --ink: #e8edf2; --soft: #9fadb9; --ground: #10161c; --card: #1a232c;
  --line: #2c3945; --good: #4cc38a; --bad: #f2867d; --link: #7ab7ff } }
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem; background: var(--ground);
  color: var(--ink); font: 1rem/1.55 system-ui, sans-serif }
main { width: 100%; max-width: 26rem; padding: 2rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .9rem; border-top: .3rem solid var(--soft) }
main.good { border-top-color: var(--good) }
main.bad { border-top-color: var(--bad) }
h1 { margin: 0 0 .75rem; font-size: 1.35rem; line-height: 1.3 }
p { margin: .5rem 0; overflow-wrap: anywhere }
small, footer { color: var(--soft) }
footer { margin-top: 1.75rem; font-size: .85rem }
a.choice { display: block; margin: .6rem 0; padding: .75rem 1rem; border: 1px solid var(--line); border-radius: .6rem;
  color: var(--link); text-decoration: none; font-weight: 600 }
a.choice:focus, a.choice:hover { border-color: var(--link) }
"""

_STYLE_HASH: Final = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

#: What goes with every page.
HEADERS: Final[Mapping[str, str]] = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def handed_over() -> str:
    """Tell somebody that the command line goes on with their log-in."""
    return _page(
        "Signed in", "good", "<p>The command line goes on with your log-in.</p><p>You can close this window.</p>"
    )


def refused(text: str) -> str:
    """Tell somebody that they are not in, and what to do."""
    return _page("Not signed in", "bad", f"<p>{escape(text[:1].upper() + text[1:])}.</p>")


def choose(providers: Mapping[str, str]) -> str:
    """Let somebody choose a provider; the values are addresses of this host."""
    links = "".join(
        f'<a class="choice" href="{escape(address)}">{escape(name)}</a>' for name, address in providers.items()
    )
    return _page("Sign in", "", f"<p>Choose where you have an account.</p>{links}")


def _page(title: str, mood: str, content: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title} - Vestibule</title><style>{_STYLE}</style></head>"
        f'<body><main class="{mood}"><h1>{title}</h1>{content}<footer>Vestibule</footer></main></body></html>'
    )
