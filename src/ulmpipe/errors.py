"""The one exception a user of ulmpipe is meant to read, and what to tell of those of the system."""

from __future__ import annotations

import errno


class InputError(ValueError):
    """A mistake in what the user gave: one line naming the file or field, the value and what was expected."""


def is_disk_full(error: BaseException) -> bool:
    """Whether an error means a full disk or quota; safetensors tells it in words of its own."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(words in str(error) for words in ("No space left", "StorageFull"))


def is_refused(error: BaseException) -> bool:
    """Whether an error means that the system does not allow to read or write somewhere."""
    return isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
