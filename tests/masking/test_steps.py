import pytest

from vestibule.masking.steps import KEEP, LITERAL, NULL, PASS, STEP, TRIM, RowMask, row_mask
from vestibule.masking.transforms import BPCHAR, JSONB, TEXT, VARCHAR
from vestibule.model.plan import Transform

LAST = Transform("keep", last=4)
ENDLESS = 2**32 - 1


def steps(layout: RowMask) -> list[tuple[object, ...]]:
    return list(STEP.iter_unpack(layout.steps))


def test_each_column_has_its_step():
    layout = row_mask(
        [None, Transform(), LAST, LAST, Transform("null"), Transform()],
        [TEXT, JSONB, VARCHAR, BPCHAR, TEXT, 23],
        [0, 1, 0, 0, 0, 1],
        [-1, -1, 24, -1, -1, -1],
    )
    assert steps(layout) == [
        (PASS, 0, bytes(6), 0, 0, 0),
        (LITERAL, 6, b'\x01"***"', 0, 0, ENDLESS),
        (KEEP, 3, b"***\0\0\0", 0, 4, 20),
        (TRIM, 3, b"***\0\0\0", 0, 4, ENDLESS),
        (NULL, 0, bytes(6), 0, 0, 0),
        (NULL, 0, bytes(6), 0, 0, 0),
    ]
    assert (layout.columns, layout.masked) == (6, 5)


def test_without_modifiers_no_length_is_bounded():
    assert steps(row_mask([Transform()], [VARCHAR], [0])) == [(LITERAL, 3, b"***\0\0\0", 0, 0, ENDLESS)]


def test_a_layout_may_mask_nothing_and_have_no_columns():
    assert (row_mask([None, None], [TEXT, 23], [0, 0]).masked, row_mask([], [], []).columns) == (0, 0)


def test_equal_columns_have_equal_layouts():
    assert row_mask([LAST], [TEXT], [0]) == row_mask([LAST], [TEXT], [1])
    assert row_mask([LAST], [TEXT], [0]) != row_mask([None], [TEXT], [0])


@pytest.mark.parametrize("described", [([TEXT], [0, 0], []), ([TEXT, TEXT], [0], []), ([TEXT] * 2, [0] * 2, [-1])])
def test_a_description_of_other_columns_makes_no_layout(described):
    with pytest.raises(ValueError):
        row_mask([None, None], *described)


@pytest.mark.parametrize("wrong", [b"x", bytes(STEP.size - 1), STEP.pack(LITERAL, 7, b"", 0, 0, 0)])
def test_steps_that_the_kernel_cannot_follow_make_no_layout(wrong):
    with pytest.raises(ValueError, match="not whole"):
        RowMask(wrong)


def test_more_characters_than_any_value_has_are_as_many_as_a_step_can_say():
    (step,) = steps(row_mask([Transform("keep", 2**40, 2**32)], [TEXT], [0]))
    assert step[3:5] == (ENDLESS, ENDLESS)
