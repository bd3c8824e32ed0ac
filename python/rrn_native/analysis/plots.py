"""Figures of similarities, embeddings, groups and explanations.

    result = rrn_native.find_similar("photos")
    plots.similarity_histogram(result.embeddings, result.threshold)
    plots.embedding_map(result.embeddings, [image.path for image in result.images], groups=result.groups)
    plots.save(plots.group_gallery(result), Path("groups.png"))

Every function takes data and returns a matplotlib ``Figure``; none prints, opens a window or touches pyplot's state,
and a notebook shows what a cell returns. The same input gives the same figure, whatever the user's matplotlib settings.
Nothing depends on colour alone. Needs matplotlib: ``pip install 'rrn-native[report]'``. As matplotlib is not
thread-safe, neither is this module.
"""

from __future__ import annotations

from rrn_native.analysis._drawing import FORMATS, check_format, save
from rrn_native.analysis._explanation_figures import explanation_figure, layer_contributions
from rrn_native.analysis._gallery_figure import gallery_pages, group_gallery
from rrn_native.analysis._histogram_figures import calibration_figure, similarity_histogram
from rrn_native.analysis._map_figure import embedding_map

__all__ = [
    "FORMATS",
    "calibration_figure",
    "check_format",
    "embedding_map",
    "explanation_figure",
    "gallery_pages",
    "group_gallery",
    "layer_contributions",
    "save",
    "similarity_histogram",
]
