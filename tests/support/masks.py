"""Values, types and transforms of every kind, for tests of what is shown."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from vestibule.masking.transforms import HIDDEN
from vestibule.model.plan import Transform

#: Those that have text, and a number, bytes, a date, an array of text, and two that do not exist.
TYPES: Final = (*sorted(HIDDEN), 23, 17, 1082, 1009, 0, 99_999)
FORMATS: Final = (0, 1)

typmods = st.sampled_from([-1, 0, 4, 2**31 - 1, -(2**31)]) | st.integers(5, 16)

transforms = (
    st.just(Transform())
    | st.just(Transform("null"))
    | st.builds(lambda first, last: Transform("keep", first, last), st.integers(0, 3), st.integers(0, 4))
    | st.sampled_from([Transform("keep", 2**31, 1), Transform("keep", 1, 2**40)])
)

#: Text of one to four bytes a character, text with blanks at its end, and bytes that are hardly ever text.
values = (
    st.none()
    | st.text("aé€𝄞 ", max_size=24).map(str.encode)
    | st.text(max_size=12).map(str.encode)
    | st.binary(max_size=24)
    | st.lists(
        st.sampled_from(
            [b"a", b"aaaaaaaa", b"\xc3\xa9", b"\xe2\x82\xac", b"\xf0\x9d\x84\x9e", b"\xed\xa0\x80", b"\x80"]
        )
        | st.binary(min_size=1, max_size=2),
        max_size=9,
    ).map(b"".join)
)
