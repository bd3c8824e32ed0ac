"""The network, its weights and its files: export, check, 8 bits, and the operator for PyTorch.

    from rrn_native.model import quantize

Its modules are imported when they are first used; they need the packages of rrn's extra [export], ``quantize`` those of
[quantize].
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
