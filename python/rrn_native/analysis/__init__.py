"""What similarities say: measures against labels, thresholds, explanations, figures, a report.

    from rrn_native.analysis import metrics

Its modules are imported when they are first used. ``metrics``, ``labels``, ``calibrate``, ``comparison``, ``histogram``
and ``projection`` need NumPy only, the others the packages of rrn's extra [report].
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
