"""Forms of the network, each made once for all tests."""

from __future__ import annotations

import functools
from collections.abc import Callable

import onnx
import pytest

from research.tensorrt import forms


@pytest.fixture(scope="session")
def made() -> Callable[[str], onnx.ModelProto]:
    """Returns `forms.make`, which keeps what it has made; nobody may change it."""
    return functools.cache(forms.make)
