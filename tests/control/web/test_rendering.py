import re
from pathlib import Path

import pytest

from vestibule.control.web import rendering
from vestibule.control.web.rendering import HEADERS, page

TEMPLATES = sorted((Path(rendering.__file__).parent / "templates").glob("*.html"))


def test_a_page_runs_and_loads_only_what_this_host_serves_as_files() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; ")
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_has_a_script_a_style_or_a_handler_in_it_or_leaves_a_text_unescaped(path: Path) -> None:
    text = path.read_text()
    assert not re.search(
        r"<script(?! src=)|<style|\sstyle=|\son[a-z]+=|hx-on|javascript:|\|\s*safe|autoescape|https?://", text
    )


def test_every_page_carries_the_headers() -> None:
    answer = page("problem.html", {"title": "x", "detail": "y", "visitor": None}, 404)
    assert answer.status_code == 404
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    assert HEADERS["X-Frame-Options"] == "DENY"
    assert HEADERS["Cache-Control"] == "no-store"


def test_a_fact_that_is_missing_is_an_error_and_no_empty_place() -> None:
    with pytest.raises(Exception, match="undefined"):
        page("problem.html", {"title": "x", "visitor": None})


def test_a_text_that_cannot_be_encoded_is_still_a_page() -> None:
    assert b"?" in page("problem.html", {"title": "x", "detail": "\udc00", "visitor": None}).body
