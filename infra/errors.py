"""The two kinds of failure a person sees as one line, without a traceback."""

import errno

_FULL_DISK = ("No space left on device", "database or disk is full")


class WhitecrowError(Exception):
    """A failure whose text is one line that says what is wrong and what to do."""

    exit_code = 1


class InputError(WhitecrowError):
    """Raised for a mistake in what the caller handed over; the command line exits with 2."""

    exit_code = 2


class Refusal(WhitecrowError):
    """Raised when the work ran and the answer is no; the command line exits with 1."""

    exit_code = 1


def is_full_disk(error: BaseException | None) -> bool:
    """Return whether a failure, or what caused it, is a disk without space.

    Libraries below wrap the operating system's error in exceptions of their own and keep its text.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(words in str(error) for words in _FULL_DISK):
            return True
        error = error.__cause__ or error.__context__
    return False
