"""The last stages: a second look at candidate pairs by a function of one's own, and groups by rrn's rule."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import rrn_native

from rrn_ops.scale import embedding, engines, pairs, storage
from rrn_ops.scale.embedding import Progress
from rrn_ops.scale.pairs import Pairs
from rrn_ops.scale.storage import Json, Product, ScaleError

VERIFIED = "verified"
# Pairs that a plug-in is given at once.
_BATCH = 65_536
# Takes and returns a table with the columns of `candidates`.
Verify = Callable[[pa.Table], pa.Table]


def load_plug_in(name: str) -> Verify:
    """Returns the function of ``module:function``.

    Raises:
        ScaleError: There is no such module or function.
    """
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise ScaleError(f"--plug-in {name}: expected module:function")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ScaleError(f"--plug-in {name}: {error}") from error
    if not callable(found):
        raise ScaleError(f"--plug-in {name}: not a function")
    plug_in: Verify = found
    return plug_in


class VerifyTask:
    """Shows the pairs of one file to the plug-in, batch by batch; the file and its manifest go in as JSON.

    Args:
        job: The place of the job.
        name: Of the plug-in, module:function.
        block_rows: Of the search's blocks.
    """

    def __init__(self, job: str, name: str, block_rows: int) -> None:
        self._job = job
        self._verify = load_plug_in(name)
        self._name = name
        self._blocks = pairs.blocks(embedding.manifests(job), block_rows)
        self._paths: dict[int, pa.Array] = {}

    def __call__(self, text: str) -> str:
        """Does it; see the class."""
        task = json.loads(text)
        found = pairs.read(self._job, pairs.STAGE, task["manifest"], self._blocks)
        kept = []
        for start in range(0, len(found), _BATCH):
            some = slice(start, start + _BATCH)
            part = Pairs(found.first[some], found.second[some], found.similarity[some])
            kept.append(self._checked(self._verify(self._candidates(part)), part))
        empty = pairs.table_of(found.first[:0], found.second[:0], found.similarity[:0])
        table = pa.concat_tables([empty, *kept])
        product = Product(VERIFIED, task["manifest"]["name"], task["made_from"])
        facts = {"pairs": len(table), "candidates": len(found), "plug_in": self._name, "of": task["of"]}
        return embedding.json_line(storage.finish(self._job, product, embedding.parquet_bytes(table), facts))

    def _candidates(self, part: Pairs) -> pa.Table:
        table = pairs.table_of(part.first, part.second, part.similarity)
        for name, rows in (("first_path", part.first), ("second_path", part.second)):
            table = table.append_column(name, self._paths_of(rows))
        return table

    def _paths_of(self, rows: pairs.Ints) -> pa.Array:
        starts = np.array([block.start for block in self._blocks])
        place = np.searchsorted(starts, rows, side="right") - 1
        paths = np.empty(len(rows), object)
        for number in np.unique(place).tolist():
            if number not in self._paths:
                # Pairs of a file come from few blocks; those of a cell may come from all.
                self._paths[number] = pa.array(pairs.read_paths(self._job, self._blocks[number]), pa.string())
            mine = place == number
            paths[mine] = self._paths[number].take(pa.array(rows[mine] - starts[number])).to_pylist()
        return pa.array(paths, pa.string())

    def _checked(self, given: Any, part: Pairs) -> pa.Table:
        if not isinstance(given, pa.Table) or not {"first", "second", "similarity"} <= set(given.column_names):
            raise ScaleError(f"{self._name}: expected a pyarrow.Table with first, second and similarity")
        columns = (np.asarray(given[name]) for name in ("first", "second", "similarity"))
        table = pairs.table_of(*(each.astype(kind) for each, kind in zip(columns, ("i8", "i8", "f4"), strict=True)))
        keys = {*zip(part.first.tolist(), part.second.tolist(), strict=True)}
        if strange := {*zip(table["first"].to_pylist(), table["second"].to_pylist(), strict=True)} - keys:
            raise ScaleError(f"{self._name}: returned the pair {min(strange)}, which is no candidate")
        return table


@dataclasses.dataclass(frozen=True)
class Verified:
    """What a second look kept.

    Attributes:
        tasks: Files of pairs.
        reused: Those that were finished before.
        candidates: Pairs that were looked at.
        pairs: Those that were kept.
    """

    tasks: int
    reused: int
    candidates: int
    pairs: int


def verify(
    job: str, name: str, options: engines.Options, *, resume: bool = True, progress: Progress | None = None
) -> Verified:
    """Runs a plug-in over all candidate pairs.

    Args:
        job: The place of a job with pairs.
        name: Of the plug-in, module:function. Files are made again when the name is another one, or the value of its
            attribute ``version``, if it has one.
        options: Of the engine.
        resume: False looks at all pairs again.
        progress: Called with (done, total) in files of pairs.

    Raises:
        ScaleError, OSError: The job cannot go on; what was finished stays.
    """
    search, _ = pairs.described(job)
    version = str(getattr(load_plug_in(name), "version", ""))
    wanted = {}
    for manifest in pairs.stage_manifests(job, pairs.STAGE):
        # Paths may change where the pairs do not.
        of = [manifest["sha256"], search["state"]]
        made_from = storage.digest([*of, name, version])
        task = json.dumps({"manifest": manifest, "made_from": made_from, "of": of})
        wanted[str(manifest["name"])] = (Product(VERIFIED, str(manifest["name"]), made_from), task)
    work = engines.Work(VerifyTask, (job, name, int(search["block_rows"])))
    made, reused = pairs.run_stage(job, wanted, work, options, resume=resume, progress=progress)
    candidates, kept = (sum(int(each[key]) for each in made) for key in ("candidates", "pairs"))
    return Verified(len(wanted), reused, candidates, kept)


@dataclasses.dataclass(frozen=True)
class Grouped:
    """What grouping found.

    Attributes:
        images: With an embedding.
        pairs: That the groups are made of.
        groups: How many.
        unique: Groups and images in no group.
        file: Where they are.
    """

    images: int
    pairs: int
    groups: int
    unique: int
    file: str


def group(job: str, *, verified: bool = False) -> Grouped:
    """Groups the images of a job by the rule of :func:`rrn_native.group_pairs`, and writes ``groups.parquet``.

    The same images and pairs give the same groups as ``rrn find``, however they are cut into partitions.

    The file has a row for each image of a group: ``group`` (int64, from 0), ``path``, ``representative`` (bool) and
    ``similarity`` to the representative (float32; 1 for itself), representatives first, then by similarity.

    Args:
        job: The place of a job with pairs.
        verified: Of the pairs that :func:`verify` kept.

    Raises:
        ScaleError: The pairs are not complete.
        OSError: The file cannot be written.
    """
    _, held = pairs.described(job)
    stage = VERIFIED if verified else pairs.STAGE
    listed = pairs.stage_manifests(job, stage)
    if verified:
        _check_verified(job, listed)
    found = [pairs.read(job, stage, each, held) for each in listed]
    first, second, similarity = (
        np.concatenate([getattr(each, name) for each in found]) for name in ("first", "second", "similarity")
    )
    images = sum(block.rows for block in held)
    # Of images with a pair only, in the order of their paths: the groups then depend on nothing but images and pairs.
    rows, places = np.unique(np.concatenate([first, second]), return_inverse=True)
    paths = _paths(job, held, rows)
    order = pc.sort_indices(paths).to_numpy()
    rank = np.empty(len(rows), np.int64)
    rank[order] = np.arange(len(rows))
    one, other = rank[places[: len(first)]], rank[places[len(first) :]]
    by_path = (np.minimum(one, other), np.maximum(one, other), similarity)
    representative, to_it, _ = rrn_native.group_pairs(len(rows), by_path)
    table = _table(paths.take(pa.array(order)), representative, to_it)
    place = storage.join(job, "groups.parquet")
    storage.write_bytes(place, embedding.parquet_bytes(table))
    groups = int(pc.sum(table["representative"]).as_py() or 0)
    return Grouped(images, len(first), groups, images - len(table) + groups, place)


def _check_verified(job: str, listed: list[Json]) -> None:
    search, _ = pairs.described(job)
    candidates = {str(each["name"]): each["sha256"] for each in pairs.stage_manifests(job, pairs.STAGE)}
    current = {
        str(each["name"])
        for each in listed
        if (name := str(each["name"])) in candidates and each.get("of") == [candidates[name], search["state"]]
    }
    if current != set(candidates):
        raise ScaleError(f"{job}: not all pairs were verified; run rrn scale pairs with --plug-in again")


def _paths(job: str, held: list[pairs.Block], rows: pairs.Ints) -> pa.Array:
    """The paths of rows, which are sorted."""
    parts = [pa.array([], pa.string())]
    for block in held:
        inside = rows[(rows >= block.start) & (rows < block.start + block.rows)] - block.start
        if len(inside):
            parts.append(pa.array(pairs.read_paths(job, block), pa.string()).take(pa.array(inside)))
    return pa.concat_arrays(parts)


def _table(paths: pa.Array, representative: pairs.Ints, to_it: pairs.Floats) -> pa.Table:
    """The images of groups: those with another representative than themselves, and these."""
    itself = np.arange(len(representative))
    members = itself[representative != itself]
    rows = np.union1d(members, representative[members])
    heads = representative[rows]
    is_head = rows == heads
    order = np.lexsort((rows, -to_it[rows], ~is_head, heads))
    rows, is_head = rows[order], is_head[order]
    return pa.table(
        {
            "group": np.cumsum(is_head) - 1,
            "path": paths.take(pa.array(rows)),
            "representative": is_head,
            "similarity": to_it[rows],
        }
    )
