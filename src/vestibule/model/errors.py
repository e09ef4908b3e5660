"""Errors that cross packages: whose fault, and what to do next."""

from __future__ import annotations


class VestibuleError(Exception):
    """Base of all errors that are answered rather than crashed on."""


class ClientProtocolError(VestibuleError):
    """The client broke the protocol; `code` is the protocol's own error code."""

    def __init__(self, message: str, code: str = "08P01") -> None:
        """Say what was wrong with the client's bytes."""
        super().__init__(message)
        self.code = code


class TargetProtocolError(VestibuleError):
    """The target broke the protocol or lied; the session is closed, the cause goes to record and log."""


class TargetUnavailable(VestibuleError):
    """The target could not be reached or verified; `cause` is for record and operator log only."""


class EvidenceUnavailable(VestibuleError):
    """The journal cannot make a record durable now; the act is refused."""


class ConfigurationError(VestibuleError):
    """A file of the operator's is wrong; the message names file, line and what to write instead."""
