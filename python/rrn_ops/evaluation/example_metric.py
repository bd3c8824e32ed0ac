"""An own metric: is at least the mood right? Calling fear sadness is a smaller mistake than calling it joy."""

from __future__ import annotations

import numpy as np

from rrn_ops.evaluation.interface import Data, FloatArray, metric

PLEASANT = {"joy", "surprise"}


@metric(higher_is_better=True, name="right_mood")
def polarity(data: Data) -> FloatArray:
    """Returns 1 for each image whose predicted class is as pleasant as the expected one, float64 [n]; else 0."""
    pleasant = np.array([name in PLEASANT for name in data.classes])
    same: FloatArray = (pleasant[data.predicted] == pleasant[data.labels]).astype(np.float64)
    return same
