import hashlib
import re

import pytest

from tests.support.pages import Rooms
from vestibule.control.web.assets import ASSETS, FOLDER

#: What was taken from htmx's package of version 4.0.1, as it is there.
TAKEN = {
    "htmx.min.js": "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130",
    "hx-sse.min.js": "18ef2761356ec1fe0bb6d92612315b37517a7c1e9856b661c5ae81fef239d103",
}


def test_what_others_wrote_is_as_they_published_it_and_has_its_licence() -> None:
    for name, digest in TAKEN.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest
    assert "Zero-Clause BSD" in (FOLDER / "htmx.LICENSE").read_text()


@pytest.mark.asyncio
async def test_a_file_may_be_kept_and_its_address_changes_with_it(rooms: Rooms) -> None:
    browser = await rooms.browser()
    for name, asset in ASSETS.items():
        answer = await browser.get(asset.address)
        assert answer.content == (FOLDER / name).read_bytes()
        assert "max-age=31536000" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert hashlib.sha256(answer.content).hexdigest()[:16] in asset.address


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "path",
    ["/static/x/style.css", "/static/0/..%2f..%2fsite.py", "/static/0/../rendering.py", "/static/0/htmx.LICENSE"],
)
async def test_nothing_else_is_given(rooms: Rooms, path: str) -> None:
    assert (await (await rooms.browser()).get(path)).status_code == 404


def test_no_file_of_ours_loads_anything_from_elsewhere() -> None:
    for name in ("style.css", "page.js"):
        assert not re.search(r"https?://|@import|url\(", (FOLDER / name).read_text())
