"""Addresses as they are written."""

from __future__ import annotations

from vestibule.model.target import Address


def test_an_address_is_written_with_its_port_and_ipv6_in_brackets() -> None:
    assert str(Address("db1.internal", 5432)) == "db1.internal:5432"
    assert str(Address("::1", 5432)) == "[::1]:5432"
