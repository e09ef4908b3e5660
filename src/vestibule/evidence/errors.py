"""What is wrong with evidence: its form, or its content."""

from __future__ import annotations

from vestibule.model.errors import VestibuleError


class EvidenceFormatError(VestibuleError):
    """Bytes or members do not have the form that evidence has; the message never holds a member's value."""


class MemberRefused(EvidenceFormatError):
    """A member of a body is not of its type; `path` leads to it from where the check began."""

    def __init__(self, words: str, path: str = "") -> None:
        """Say what the member must be."""
        super().__init__(f"{path} {words}".lstrip())
        self.words = words
        self.path = path

    def within(self, name: str) -> MemberRefused:
        """Say it of the same member, seen from one level further out."""
        separator = "." if self.path and not self.path.startswith("[") else ""
        return MemberRefused(self.words, f"{name}{separator}{self.path}")


class TornSegment(EvidenceFormatError):
    """The last frame, at `offset`, was not written whole; nothing good follows."""

    def __init__(self, offset: int) -> None:
        """Say where the torn frame starts."""
        super().__init__(f"the last frame, at offset {offset}, was not written whole")
        self.offset = offset


class DamagedSegment(EvidenceFormatError):
    """The bytes at `offset` were whole once: good frames or foreign bytes follow."""

    def __init__(self, offset: int, reason: str) -> None:
        """Say where the damage starts and why it is no torn write."""
        super().__init__(f"damaged at offset {offset}: {reason}")
        self.offset = offset
        self.reason = reason


class SignatureRefused(EvidenceFormatError):
    """A note is not signed by the key that should have signed it."""


class RolledBack(VestibuleError):
    """The tree is smaller than, or differs from, a tree whose checkpoint was released; nothing may be signed."""
