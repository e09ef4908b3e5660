from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vestibule.masking.shades import made_of, stricter
from vestibule.model.names import RuleName
from vestibule.model.plan import Mask, Transform

TRANSFORMS = st.one_of(
    st.builds(Transform, st.just("keep"), st.integers(0, 6), st.integers(0, 4)),
    st.builds(Transform, st.sampled_from(["hide", "null"])),
)
MASKS = st.builds(Mask, st.sampled_from(["a", "b"]).map(RuleName), TRANSFORMS)


def shown(mask: Mask) -> tuple[int, int]:
    transform = mask.transform
    return (transform.first, transform.last) if transform.kind == "keep" else (0, 0)


@given(MASKS, MASKS)
def test_two_masks_give_one_that_shows_no_more_than_either(one: Mask, other: Mask) -> None:
    both = stricter(one, other)

    assert both is not None
    for mask in (one, other):
        assert shown(both)[0] <= shown(mask)[0]
        assert shown(both)[1] <= shown(mask)[1]
        assert both.transform.kind != "keep" or mask.transform.kind == "keep"


@given(MASKS, MASKS)
def test_the_order_of_two_masks_does_not_matter(one: Mask, other: Mask) -> None:
    both, turned = stricter(one, other), stricter(other, one)

    assert both is not None
    assert turned is not None
    assert both.transform == turned.transform


@given(MASKS)
def test_no_mask_and_a_mask_are_the_mask(mask: Mask) -> None:
    assert stricter(None, mask) == stricter(mask, None) == stricter(mask, mask) == mask


@given(MASKS)
def test_nothing_is_shown_of_what_is_made_of_a_value(mask: Mask) -> None:
    made = made_of(mask)

    assert made == Mask(mask.rule, Transform("hide"))
    assert made_of(None) is None
