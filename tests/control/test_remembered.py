from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.control.remembered import Tree, read_tree, write_tree
from vestibule.model.errors import ConfigurationError

ORIGIN = "vestibule.bank.example/log/1"


def test_a_tree_is_read_as_it_was_written_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "guard.json"
    assert read_tree(path, ORIGIN) is None
    write_tree(path, ORIGIN, Tree(7, bytes(range(32))))
    assert read_tree(path, ORIGIN) == Tree(7, bytes(range(32)))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_memory_of_another_log_is_an_error_that_names_both(tmp_path: Path) -> None:
    write_tree(tmp_path / "guard.json", ORIGIN, Tree())
    with pytest.raises(ConfigurationError, match=r"remembers the log 'vestibule\.bank\.example/log/1', but 'other'"):
        read_tree(tmp_path / "guard.json", "other")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"origin":"vestibule.bank.example/log/1","size":-1,"root":"00"}',
        b'{"origin":"vestibule.bank.example/log/1","size":"1","root":"' + b"00" * 32 + b'"}',
        b'{"origin":1,"size":1,"root":"' + b"00" * 32 + b'"}',
    ],
)
def test_a_memory_that_cannot_be_read_is_an_error_and_never_an_empty_memory(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "guard.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match="restore it from a backup"):
        read_tree(tmp_path / "guard.json", ORIGIN)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_an_error_that_says_what_to_do(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "guard.json"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError):
        read_tree(path, ORIGIN)
