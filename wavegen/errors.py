"""The exceptions for what the user can put right; their message is one sentence, which commands print."""

from wavegen.printable import printable


class InputError(ValueError):
    """A file, value or option that the user can put right.

    The message is one sentence with what was received and what was expected; what was received is shown printable.
    Commands print it and exit with 2.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class DiskError(InputError):
    """A file that cannot be written: the disk is full, over its quota, broken or read-only."""


def shortened(value: object) -> str:
    """A value for a sentence; it may be an integer of thousands of digits.

    >>> shortened(10**400)
    '1000000000000000000000000000000000000...'
    """
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
