import hashlib
import re
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.control import pages

EVIL = "\"><script>alert(1)</script>'&<img src=x onerror=alert(1)>"


@pytest.mark.parametrize("page", [pages.refused(EVIL), pages.choose({EVIL: f"/login?{EVIL}"})])
def test_every_text_is_escaped(page: str) -> None:
    assert "<script" not in page
    assert "<img" not in page
    assert not re.search(r'href="[^"]*[<>]', page)


@given(st.text())
def test_no_text_opens_a_tag(text: str) -> None:
    assert pages.refused(text).count("<") == pages.refused("").count("<")


@pytest.mark.parametrize("page", [pages.refused("x"), pages.choose({"a": "/b"}), pages.handed_over()])
def test_a_page_needs_nothing_from_elsewhere_and_fits_a_phone(page: str) -> None:
    assert not re.search(r"src=|@import|url\(|https?://|<script|<link", page)
    assert 'name="viewport"' in page
    assert page.startswith("<!doctype html>")


def test_the_policy_allows_the_style_of_the_page_and_nothing_else() -> None:
    style = re.search(r"<style>(.*?)</style>", pages.refused("x"), re.DOTALL)
    assert style is not None
    digest = b64encode(hashlib.sha256(style[1].encode()).digest()).decode()

    assert f"style-src 'sha256-{digest}'" in pages.HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in pages.HEADERS["Content-Security-Policy"]
    assert "unsafe" not in pages.HEADERS["Content-Security-Policy"]


def test_somebody_whose_command_line_goes_on_is_told_to_close_the_window() -> None:
    assert "close this window" in pages.handed_over()
