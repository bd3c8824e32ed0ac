"""Writes the table and draws the charts. Everything comes from the JSON files; nothing is measured here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from research.common import charts, machine, results, tables

Json = dict[str, Any]

TITLES = {
    "network": "The network by provider, precision, size and batch",
    "decode": "From a file to the network's input",
    "start": "The program's start",
    "end_to_end": "From a folder to similar pairs",
    "rerun": "A folder again, with a store",
    "pairs": "All pairs against other libraries",
    "growth": "How time and memory grow",
    "operator": "The operator against the memory's bandwidth",
}
_NOTES = {
    "decode": "Milliseconds for a picture on one thread: read, decode, resize to 224 x 224, normalise. "
    "`max_difference` is to Pillow's full decoding, in units of the network's input (1 is about 58 of 255 levels). "
    "Pillow's draft mode and OpenCV's INTER_AREA give other pixels than the model was made for.",
    "start": "Whole runs on two pictures of 64 x 64 pixels; `--version` loads the libraries and no model. Compiled "
    "models are in the cache.",
    "end_to_end": "Wall time of whole programs, from their start; peak memory is the sum over the process and its "
    "children (shared memory counts for each). Precision and recall are of pairs, against the planted copies (resized, "
    "recompressed, cropped, mirrored, brighter); every tool with its own defaults, rrn and the script with a cosine "
    "above 0.75. `best_parts` are the fastest decoding and the fastest network at hand, each alone on all cores.",
    "rerun": "Wall time of `build/similarity --store` on JPEG files of 640 x 480 pixels, from its start; the store is "
    "new for the first run of each round. `touched` files have another time and are read again. The ways follow each "
    "other in this order in every round, because each needs the one before it.",
    "pairs": "All pairs with a cosine above 0.75 among random rows and a few near-copies, on all cores. Random rows "
    "are the best case of rrn's filter: the more pairs come near the threshold, the more it has to compute exactly. "
    "faiss searches every row against all (both directions), usearch looks for 16 neighbours (no search by radius).",
    "growth": "`search` is `similar_pairs` on random rows in a separate process (peak memory includes Python and the "
    "rows); `program` is `build/similarity` on small JPEG files at a small input size.",
    "operator": "Pooling, interleaving and averaging four feature maps in one pass, on one thread. "
    "`share_of_bandwidth` is the input read per second over the fastest reading of as many bytes that the same rounds "
    "measured.",
}


def load(folder: Path, names: Sequence[str]) -> dict[str, Json]:
    """Returns the results of a folder that are there, by part."""
    found = {}
    for name in names:
        place = folder / f"bench_{name}.json"
        if place.is_file():
            found[name] = results.read(place)
    return found


def write(measured_in: Path, folder: Path, names: Sequence[str]) -> list[Path]:
    """Writes benchmarks.md and the charts of the results in `measured_in` into `folder`; returns the files."""
    measured = load(measured_in, names)
    drawn = draw(measured, folder)
    page = folder / "benchmarks.md"
    results.write_bytes(page, markdown(measured, [path.name for path in drawn]).encode())
    return [page, *drawn]


def markdown(measured: Mapping[str, Json], pictures: Sequence[str] = ()) -> str:
    """Returns the page of tables.

    Args:
        measured: What `bench.py` wrote, by part.
        pictures: File names of charts, `benchmarks_PART.png`.
    """
    lines = [
        "# Benchmarks",
        "",
        "Generated from `results/bench_*.json` by `scripts/bench.sh`; `research/benchmarks/README.md` says what is "
        "measured and how. Values are medians of interleaved rounds; low and high are the fastest and the slowest.",
        "",
    ]
    if any(result["quick"] for result in measured.values()):
        lines += ["**A quick run on tiny inputs: it shows that the machinery works, the numbers mean nothing.**", ""]
    for name, result in measured.items():
        lines += [f"## {TITLES.get(name, name)}", ""]
        if name in _NOTES:
            lines += [_NOTES[name], ""]
        if f"benchmarks_{name}.png" in pictures:
            lines += [f"![{TITLES[name]}](benchmarks_{name}.png)", ""]
        lines += _section(result["result"])
        lines += [f"{machine.words(result)}; took {result['took_s']} s.", ""]
    return "\n".join(lines)


def _section(result: Mapping[str, Any], title: str = "") -> list[str]:
    """Every list of objects becomes a table, every object a section, everything else a line."""
    plain = {key: value for key, value in result.items() if not _is_table(value) and not isinstance(value, dict)}
    lines = [f"{title}:", ""] if title else []
    if plain:
        lines += [", ".join(f"{key}: {_cell(value)}" for key, value in plain.items()), ""]
    for key, value in result.items():
        if _is_table(value):
            lines += [] if key == "rows" else [f"{key}:", ""]
            lines += _table(value)
        elif isinstance(value, dict) and value:
            if all(not isinstance(entry, dict) for entry in value.values()):
                lines += [f"{key}: " + ", ".join(f"{name}: {_cell(entry)}" for name, entry in value.items()), ""]
            else:
                lines += _section(value, key)
    return lines


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:g}" if abs(value) < 1e5 else f"{value:.0f}"
    return str(value)


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    header = list(dict.fromkeys(key for row in rows for key in row))
    numeric = {key: all(isinstance(row.get(key), int | float | None) for row in rows) for key in header}
    body = [[_cell(row[key]) if key in row else "" for key in header] for row in rows]
    return tables.table(header, body, list(numeric.values()))


def draw(measured: Mapping[str, Json], folder: Path) -> list[Path]:
    """Draws a chart for each part that has one; returns the files."""
    drawings: dict[str, Callable[[Json], Any]] = {
        "decode": _draw_decode,
        "end_to_end": _draw_end_to_end,
        "growth": _draw_growth,
        "operator": _draw_operator,
    }
    written = []
    for name, drawing in drawings.items():
        if name in measured:
            path = folder / f"benchmarks_{name}.png"
            charts.save(drawing(measured[name]["result"]), path)
            written.append(path)
    return written


def _values(rows: Sequence[Json], key: str) -> list[Any]:
    return list(dict.fromkeys(row[key] for row in rows))


def _bars(axes: Any, rows: Sequence[Json], group: str, series: str, value: str) -> None:
    """Grouped bars of the medians with whiskers from low to high; `value` is the unit, as in median_ms."""
    found = {(row[group], row[series]): row for row in rows}

    def median(group_name: str, series_name: str) -> float | None:
        row = found.get((group_name, series_name))
        return None if row is None else row[f"median_{value}"]

    def ends(group_name: str, series_name: str) -> tuple[float, float]:
        row = found[group_name, series_name]
        return row[f"low_{value}"], row[f"high_{value}"]

    charts.grouped_bars(axes, _values(rows, group), _values(rows, series), median, ends)


def _draw_decode(result: Json) -> Any:
    sizes = _values(result["rows"], "size")
    figure, axes = charts.pyplot.subplots(1, len(sizes), figsize=(4.6 * len(sizes) + 0.4, 4), squeeze=False)
    for axis, size in zip(axes[0], sizes, strict=True):
        _bars(axis, [row for row in result["rows"] if row["size"] == size], "format", "reader", "ms")
        axis.set(title=size, ylabel="ms for a picture, one thread")
        axis.tick_params(axis="x", labelrotation=15)
    axes[0][0].legend(frameon=False)
    figure.tight_layout()
    return figure


def _draw_end_to_end(result: Json) -> Any:
    sizes = _values(result["rows"], "size")
    tools = _values(result["rows"], "tool")
    height = 0.34 * len(tools) + 1.3
    figure, axes = charts.pyplot.subplots(
        1, len(sizes), figsize=(4 * len(sizes) + 1.4, height), squeeze=False, sharey=True
    )
    for axis, size in zip(axes[0], sizes, strict=True):
        for row in (row for row in result["rows"] if row["size"] == size):
            ours = row["tool"].startswith("rrn")
            axis.barh(
                tools.index(row["tool"]),
                row["images_per_s"],
                color="0.25" if ours else "0.8",
                hatch="" if ours else "///",
                edgecolor="black",
                linewidth=0.6,
            )
        for precision, style in (("fp32", "--"), ("bf16", ":"), ("int8", "-.")):
            limit = result["best_parts"][size].get(f"images_per_s_{precision}")
            if limit is not None:
                axis.axvline(limit, color="black", linestyle=style, label=f"sum of the best parts, {precision}")
        axis.set(title=size, xlabel="images per second", xlim=(0, None))
        charts.grid(axis, "x")
    axes[0][0].set_yticks(range(len(tools)), tools)
    axes[0][0].invert_yaxis()
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="lower center", frameon=False)
    figure.tight_layout(rect=(0, 0.4 / height, 1, 1))
    return figure


def _draw_growth(result: Json) -> Any:
    figure, axes = charts.pyplot.subplots(1, 2, figsize=(9.6, 4))
    for axis, key, words in ((axes[0], "median_s", "seconds"), (axes[1], "peak_mib", "peak memory, MiB")):
        for what, marker, line in (("search", "o", "-"), ("program", "s", "--")):
            chosen = [row for row in result["rows"] if row["what"] == what]
            label = "search of embeddings" if what == "search" else "whole program, small pictures"
            axis.plot(
                [row["count"] for row in chosen],
                [row[key] for row in chosen],
                marker=marker,
                linestyle=line,
                color="black",
                markerfacecolor="black" if what == "search" else "white",
                label=label,
            )
        if key == "peak_mib":
            rows = [row for row in result["rows"] if row["what"] == "search"]
            axis.plot(
                [row["count"] for row in rows],
                [row["input_mib"] for row in rows],
                linestyle=":",
                color="0.4",
                label="the embeddings themselves",
            )
        axis.set(xscale="log", yscale="log", xlabel="embeddings or pictures", ylabel=words)
        charts.grid(axis, which="both")
        axis.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    return figure


def _draw_operator(result: Json) -> Any:
    rows = [row | {"series": f"{row['way']}, {row['type']}", "batch": str(row["batch"])} for row in result["rows"]]
    for row in rows:
        for name, other in (("median", "median"), ("low", "high"), ("high", "low")):
            row[f"{name}_gb_per_s"] = row["gb_per_s"] * row["median_ms"] / row[f"{other}_ms"]
    figure, axis = charts.pyplot.subplots(figsize=(7.6, 4))
    _bars(axis, rows, "batch", "series", "gb_per_s")
    for index, moved in enumerate(result["bandwidth"]):
        best = max(value for key, value in moved.items() if key.startswith("read"))
        label = "fastest reading, same bytes" if index == 0 else None
        axis.plot([index - 0.45, index + 0.45], [best, best], color="black", linestyle="--", label=label)
    axis.set(xlabel="batch (feature maps of 224 x 224 pictures)", ylabel="input read, GB/s, one thread")
    axis.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    return figure
