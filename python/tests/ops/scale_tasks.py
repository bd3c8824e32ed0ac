"""Tasks for workers that are no children of the tests; nothing here needs what the tests need."""

from __future__ import annotations

import os
import time

from rrn_ops.scale import embedding, storage
from rrn_ops.scale.storage import ScaleError
from rrn_ops.scale.worker import Settings


class Slow(embedding.EmbedTask):
    """Embeds; says first which node and process it is, and the first one of all then takes its time."""

    def __init__(self, job: str, settings: Settings, folder: str) -> None:
        super().__init__(job, settings)
        self._folder = folder

    def __call__(self, text: str) -> str:
        import ray

        first = not storage.names_in(self._folder)
        name = f"{os.getpid()}-{ray.get_runtime_context().get_node_id()}"
        storage.write_bytes(storage.join(self._folder, name), b"")
        time.sleep(5 if first else 0.2)
        return super().__call__(text)


class Fails:
    """A task that raises."""

    def __call__(self, text: str) -> str:
        raise ScaleError(f"the task {text} has failed")
