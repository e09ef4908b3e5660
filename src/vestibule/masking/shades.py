"""What is known of one column somewhere in a statement: its name, whether it is sensitive, and where it comes from.

Masks only grow stricter: two that meet give one that shows no more than either.
"""

from __future__ import annotations

from typing import NamedTuple

from vestibule.model.plan import Mask, Transform

HIDE = Transform("hide")


class Shade(NamedTuple):
    """A column; without a name when the server's own name for it is not known here.

    With a mask and an origin it is a sensitive column as it stands in the relation; with a mask alone something was
    made of one.
    """

    name: str | None
    mask: Mask | None = None
    origin: tuple[int, int] | None = None


def made_of(mask: Mask | None) -> Mask | None:
    """Give the mask of what is made of a value: nothing of it is shown, as the form of it is not known."""
    if mask is None or mask.transform == HIDE:
        return mask
    return Mask(mask.rule, HIDE)


def stricter(one: Mask | None, other: Mask | None) -> Mask | None:
    """Give a mask that shows no more than either."""
    if one is None or other is None:
        return one or other
    if one.transform == other.transform:
        return min(one, other, key=lambda mask: mask.rule)
    for mask, another in ((one, other), (other, one)):
        if _shows_no_more(mask.transform, another.transform):
            return mask
    return Mask(min(one.rule, other.rule), HIDE)


def _shows_no_more(one: Transform, other: Transform) -> bool:
    if one.kind == "keep":
        return other.kind == "keep" and one.first <= other.first and one.last <= other.last
    return other.kind == "keep" or one.kind == "hide"
