"""The package's own exception."""


class RrnError(RuntimeError):
    """The engine could not do its work: a damaged or unsupported image, a model or runtime failure.

    Wrong arguments raise ``ValueError``, missing files ``FileNotFoundError``, a cancelled call ``KeyboardInterrupt``.
    """
