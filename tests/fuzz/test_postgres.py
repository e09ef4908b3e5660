from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.postgres import fuzz_postgres


@given(st.integers(0, 2**32))
def test_conversations_that_are_nearly_right_end_in_defined_errors(seed):
    fuzz_postgres(seed, 3)


def test_the_same_seed_breaks_the_same_conversations_and_both_ends_are_seen():
    first, again = fuzz_postgres(1, 50), fuzz_postgres(1, 50)
    assert first == again
    assert first.accepted > 20
    assert first.refused > 20
