"""A person's browser as far as a log-in needs one: follows redirects, keeps cookies, posts the provider's forms."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from types import TracebackType

import httpx2

STEPS = 25


@dataclass(slots=True)
class Form:
    """One HTML form: where it goes, and its fields with their types and values."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)

    def asks(self, kind: str) -> list[str]:
        """Name the fields of a type."""
        return [name for name, type_ in self.types.items() if type_ == kind]


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(given.get("action", ""), given.get("method", "get").lower()))
            self._open = True
        elif tag in ("input", "button") and self._open and given.get("name"):
            self.forms[-1].fields[given["name"]] = given.get("value", "")
            self.forms[-1].types[given["name"]] = given.get("type", "text" if tag == "input" else "submit")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = False


def forms_of(page: str) -> list[Form]:
    """Read the forms of a page."""
    parser = _Forms()
    parser.feed(page)
    return parser.forms


def text_of(page: str, tag: str = "") -> str:
    """Read what a page says without its tags; with the beginning of a tag, what the first such element says."""
    if tag:
        name = tag.lstrip("<").split()[0]
        page = page.partition(tag)[2].partition(">")[2].partition(f"</{name}>")[0]
    return " ".join(unescape(re.sub(r"<[^>]*>", "", page)).split())


@dataclass(slots=True)
class Browser:
    """One person's browser with its cookies; `log_in` walks from a URL to wherever the redirects end."""

    ca: Path
    client: httpx2.Client = field(init=False)
    visited: list[str] = field(default_factory=list)
    _stop_at: str = ""

    def __post_init__(self) -> None:
        """Trust the run's authority and nothing else."""
        context = ssl.create_default_context(cafile=str(self.ca))
        self.client = httpx2.Client(verify=context, timeout=30, trust_env=False, follow_redirects=False)

    def __enter__(self) -> Browser:
        """Open the browser."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it, with its connections."""
        self.client.close()

    def log_in_until(self, url: str, user: str, password: str, until: str) -> str:
        """Log in like `log_in`, but stop before the first redirect to a URL that starts with `until`; give that URL."""
        self._stop_at = until
        answer = self.log_in(url, user, password)
        if answer.next_request is None:
            raise AssertionError(f"the log-in ended with {answer.status_code} at {answer.url}, not at {until}")
        return str(answer.next_request.url)

    def log_in(self, url: str, user: str, password: str) -> httpx2.Response:
        """Open `url`, log in where a form asks for it, and give the last answer."""
        answer = self._follow(self.client.get(url))
        for _ in range(STEPS):
            form = next((form for form in forms_of(answer.text) if _is_log_in(form)), None)
            if form is None or answer.status_code >= 400:
                return answer
            answer = self._follow(self._post(answer, form, user, password))
        raise AssertionError(f"the log-in did not end after {STEPS} forms; visited {self.visited}")

    def send(self, page: httpx2.Response, form: Form, **fields: str) -> httpx2.Response:
        """Send a form of a page as a browser does, with `fields` filled in, and give where that leads."""
        values = {name: value for name, value in form.fields.items() if form.types[name] == "hidden"} | fields
        origin = f"{page.url.scheme}://{page.url.netloc.decode()}"
        headers = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
        return self._follow(self.client.post(str(page.url.join(form.action)), data=values, headers=headers))

    def _post(self, answer: httpx2.Response, form: Form, user: str, password: str) -> httpx2.Response:
        values = {name: value for name, value in form.fields.items() if form.types[name] == "hidden"}
        values |= dict.fromkeys(form.asks("text") + form.asks("email"), user)
        values |= dict.fromkeys(form.asks("password"), password)
        target = str(answer.url.join(form.action)) if form.action else str(answer.url)
        return self.client.post(target, data=values)

    def _follow(self, answer: httpx2.Response) -> httpx2.Response:
        for _ in range(STEPS):
            self.visited.append(str(answer.url.copy_with(query=None)))
            if answer.next_request is None or self._is_end(str(answer.next_request.url)):
                return answer
            answer = self.client.send(answer.next_request)
        raise AssertionError(f"too many redirects; visited {self.visited}")

    def _is_end(self, url: str) -> bool:
        return bool(self._stop_at) and url.startswith(self._stop_at)


def _is_log_in(form: Form) -> bool:
    return form.method == "post" and bool(form.asks("text") or form.asks("email") or form.asks("password"))
