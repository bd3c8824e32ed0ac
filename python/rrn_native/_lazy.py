"""Modules that are imported when they are first used, so that ``--help`` works where a package is missing."""

from __future__ import annotations

import importlib
from typing import Any


class LazyImport:
    """Stands for a module; its first attribute imports it.

    Args:
        name: The module's full name.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        """The module's attribute; raises ModuleNotFoundError where the module, or one that it needs, is missing."""
        return getattr(importlib.import_module(self._name), attribute)
