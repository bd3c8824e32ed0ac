"""The package's own exceptions."""


class RrnError(RuntimeError):
    """The engine could not do its work: a damaged or unsupported image, a model or runtime failure.

    Wrong arguments raise ``ValueError``, missing files ``FileNotFoundError``.
    """


class UnreadableError(RrnError):
    """The one image that a call is about cannot be read."""


class CancelledError(RrnError):
    """A progress callback returned False; Ctrl-C raises ``KeyboardInterrupt``, as everywhere."""
