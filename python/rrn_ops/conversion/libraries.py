"""timm and transformers, where torchvision's compiled operators may not fit PyTorch.

Both import torchvision where it is installed, for loading pictures, which nothing here asks of them. A torchvision
whose library does not load (PyPI's, beside a PyTorch that was built for CPUs only) fails at its import, because it
describes operators that nobody has defined. Defining their schemas is enough for the import; calling one would raise.
"""

from __future__ import annotations

import contextlib
import importlib
import warnings

import torch


def _describe_operators() -> list[torch.library.Library]:
    """Defines torchvision's operators if it is installed and cannot be imported; they are gone with the result."""
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError:
        return []
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for name in ("nms", "qnms"):
            with contextlib.suppress(RuntimeError):  # it was defined after all
                schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                library.define(schema)  # type: ignore[no-untyped-call]
        return [library]
    return []


_OPERATORS = _describe_operators()

from timm.models.vision_transformer import VisionTransformer  # noqa: E402
from transformers import ViTConfig, ViTForImageClassification  # noqa: E402
from transformers.utils import logging  # noqa: E402

__all__ = ["ViTConfig", "ViTForImageClassification", "VisionTransformer", "be_quiet"]


def be_quiet() -> None:
    """Ends the libraries' progress bars, notes and warnings about tracing and coming releases, for this process.

    For a program that has output of its own. What a trace gets wrong is found by running it on other inputs.
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
    warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
