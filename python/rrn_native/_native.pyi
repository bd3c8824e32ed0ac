"""The C++ engine's module (bindings/). It is for the package's own use; rrn_native's functions document it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__version__: str

_Floats = npt.NDArray[np.float32]
_Pixels = npt.NDArray[np.uint8]
_Progress = Callable[[int, int], bool]
_PhaseProgress = Callable[[str, int, int], bool]

class ModelInfo:
    @property
    def file(self) -> str: ...
    @property
    def weights_origin(self) -> str: ...
    @property
    def weights_sha256(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def dim(self) -> int: ...
    @property
    def provider(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def note(self) -> str: ...
    @property
    def custom_op(self) -> bool: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def files_fingerprint(self) -> str: ...

class Embedder:
    def __init__(
        self,
        *,
        model: bytes,
        op_library: bytes,
        size: int,
        batch: int,
        threads: int,
        provider: str,
        precision: str,
        cache: bool,
        max_pixels: int,
        full_decode: bool,
    ) -> None: ...
    @property
    def info(self) -> ModelInfo: ...
    def embed_files(
        self, paths: Sequence[bytes], progress: _Progress | None, /
    ) -> tuple[_Floats, list[int], list[tuple[bytes, str]]]: ...
    def embed_images(self, images: Sequence[_Pixels], progress: _Progress | None, /) -> _Floats: ...
    def preprocess(self, pixels: _Pixels, /) -> _Floats: ...
    def find_similar(
        self,
        *,
        folder: bytes,
        files: list[bytes] | None,
        against: bytes,
        skip: list[bytes],
        keep: str,
        threshold: float,
        recursive: bool,
        threads: int,
        approximate: bool,
        progress: _PhaseProgress | None,
    ) -> tuple[bytes, _Floats]: ...

class SearchOptions:
    def __init__(
        self, *, threshold: float | None, threads: int, target: str, neighbours: int = 0, effort: int = 0
    ) -> None: ...

def approximate_search_available() -> bool: ...
def command_line_flags(program: str, /) -> str: ...
def cosine_similarity(two_rows: _Floats, /) -> float: ...
def decode(data: bytes, max_pixels: int, target: int, /) -> _Pixels: ...
def default_options() -> dict[str, Any]: ...
def files_fingerprint(model: bytes, /) -> str: ...
def list_folder(folder: bytes, recursive: bool, /) -> list[bytes]: ...
def nearest(
    rows: _Floats,
    columns: _Floats | None,
    k: int,
    options: SearchOptions,
    progress: _Progress | None,
    overwrite: bool,
    /,
) -> tuple[npt.NDArray[np.int64], _Floats]: ...
def onnxruntime_version() -> str: ...
def parse_model_input(text: str, /) -> dict[str, Any]: ...
def preprocess(
    pixels: _Pixels, size: int, mean: Sequence[float], std: Sequence[float], divisor: float, bgr: bool, /
) -> _Floats: ...
def reduction(
    layers: Sequence[npt.NDArray[Any]], element_type: int, channels: int, dtype: np.dtype[Any], /
) -> npt.NDArray[Any]: ...
def run_command_line(program: str, model: bytes, op_library: bytes, words: Sequence[bytes], /) -> int: ...
def search_targets() -> list[str]: ...
def similar_pairs(
    embeddings: _Floats, options: SearchOptions, progress: _Progress | None, /
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], _Floats, float]: ...
