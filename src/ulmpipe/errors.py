"""The one exception a user of ulmpipe is meant to read."""

from __future__ import annotations


class InputError(ValueError):
    """A mistake in what the user gave: one line naming the file or field, the value and what was expected."""
