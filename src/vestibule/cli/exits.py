"""How commands end. Scripts may rely on these numbers."""

from __future__ import annotations

from enum import IntEnum

from vestibule.model.errors import ConfigurationError, TargetUnavailable, VestibuleError


class Exit(IntEnum):
    """The exit status of every command."""

    OK = 0
    #: A check found something, a statement is denied, an act was refused.
    FAILED = 1
    #: The command line or a file that it names is wrong.
    USAGE = 2
    #: The gateway, the provider or the target cannot be reached.
    UNREACHABLE = 3
    #: A statement waits for an approval.
    HELD = 4


class CommandError(VestibuleError):
    """The command ends here with `code`; the text says why and what to do."""

    def __init__(self, message: str, code: Exit = Exit.FAILED) -> None:
        """Keep the code beside the text."""
        super().__init__(message)
        self.code = code


def exit_of(error: VestibuleError) -> Exit:
    """Say how a command ends that met `error`."""
    match error:
        case CommandError(code=code):
            return code
        case ConfigurationError():
            return Exit.USAGE
        case TargetUnavailable():
            return Exit.UNREACHABLE
        case _:
            return Exit.FAILED
