"""Writes findings/serving.md and its chart from results/serving.json; measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from research.common import charts, machine, pages
from research.common.tables import table

Json = dict[str, Any]
_NAMES = {
    ("native", "on"): "native, batching",
    ("native", "off"): "native",
    ("ensemble", "on"): "Python, batching",
    ("ensemble", "off"): "Python",
}


def write(measured: Path, folder: Path) -> list[Path]:
    """Writes the page and its chart, see :func:`research.common.pages.write`."""
    return pages.write("serving", measured, folder, chart=chart, markdown=markdown)


def cases(value: Json, kind: str, batching: str) -> list[Json]:
    """Returns the records of one line of the chart, in ascending order of concurrency."""
    chosen = [each for each in value["cases"] if (each["kind"], each["batching"]) == (kind, batching)]
    return sorted(chosen, key=lambda each: int(each["concurrency"]))


def chart(value: Json) -> Any:
    """Draws throughput and 95th percentile against the requests in flight."""
    figure, (left, right) = charts.pyplot.subplots(1, 2, figsize=(11, 4))
    for number, ((kind, batching), name) in enumerate(_NAMES.items()):
        chosen = cases(value, kind, batching)
        numbers = [each["concurrency"] for each in chosen]
        style = {
            "linestyle": charts.DASHES[number],
            "marker": charts.MARKERS[number],
            "color": charts.COLOURS[number],
            "label": name,
        }
        left.plot(numbers, [each["per_second"] for each in chosen], **style)
        right.plot(numbers, [each["p95_ms"] for each in chosen], **style)
    for axes, title in ((left, "pictures a second"), (right, "95 % of the answers within, ms")):
        axes.set_xscale("log", base=2)
        axes.set_xticks(numbers, [str(each) for each in numbers])
        axes.set_xlabel("requests in flight")
        axes.set_ylabel(title)
        axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
        charts.grid(axes)
    charts.legend_beside(figure, left)
    return figure


def sentences(value: Json) -> str:
    """Returns the two sentences that say what came out."""
    numbers = sorted({int(each["concurrency"]) for each in value["cases"]})
    most = numbers[-1]

    def at(kind: str, batching: str, count: int, name: str) -> float:
        (found,) = (each for each in cases(value, kind, batching) if each["concurrency"] == count)
        return float(found[name])

    one = [at(kind, "on", 1, "p50_ms") for kind in ("native", "ensemble")]
    many = [at(kind, "on", most, "per_second") for kind in ("native", "ensemble")]
    first = at("native", "on", 1, "per_second")
    off = at("native", "off", most, "per_second")
    return (
        f"With {most} requests in flight the native backend answers {many[0]:.0f} pictures a second, "
        f"{many[0] / many[1]:.2f} times as many as the ensemble of Python models ({many[1]:.0f}), and "
        f"{many[0] / off:.2f} times as many as without batching by the server; a single request takes {one[0]:.1f} ms "
        f"(median) instead of {one[1]:.1f} ms. "
        f"From 1 to {most} requests in flight its throughput grows {many[0] / first:.1f}-fold and its median latency "
        f"{at('native', 'on', most, 'p50_ms') / one[0]:.0f}-fold, because few pictures keep all cores busy, and "
        f"batching makes the slowest 5 % wait {at('native', 'on', most, 'p95_ms'):.0f} ms or longer instead of "
        f"{at('native', 'off', most, 'p95_ms'):.0f} ms: on a CPU choose few requests in flight, and `--no-batching`."
    )


def markdown(value: Json) -> str:
    """Returns the page."""
    rows = []
    for (kind, batching), name in _NAMES.items():
        for each in cases(value, kind, batching):
            rows.append([name, str(each["concurrency"]), *_row(each)])
    header = ["model", "in flight", "a second", "p50 ms", "p95 ms", "p99 ms", "queue ms", "compute ms", "batch"]
    difference = value["difference_to_engine"]
    lines = [
        "# Serving",
        "",
        "Generated from `results/serving.json` by `scripts/findings.sh`; measured by "
        "`research.serving.measure`, see `research/serving/README.md`.",
        "",
        "## Throughput and latency",
        "",
        sentences(value),
        "",
        "![pictures a second, and latency, against the requests in flight](serving.png)",
        "",
        f"Measured on {machine.words(value)}. {value['server']}; {value['pictures']['count']} photos of "
        f"{value['pictures']['bytes'] // 1000} kB on average, one a request. Medians of {value['cases'][0]['rounds']} "
        "rounds, in which all cases were measured in turn. Queue and compute are the server's own mean times for a "
        "picture, of both steps for the ensemble (Python); batch is the mean number of pictures in an execution of the "
        "network. "
        f"The embeddings differ from the engine's own by at most {difference['native']:.1e} (native backend) and "
        f"{difference['ensemble']:.1e} (ensemble).",
        "",
        *table(header, rows, [False] + [True] * (len(header) - 1)),
    ]
    return "\n".join(lines) + "\n"


def _row(each: Json) -> Sequence[str]:
    names = ("per_second", "p50_ms", "p95_ms", "p99_ms", "queue_ms", "compute_ms", "batch")
    return [f"{each[name]:.1f}" for name in names]
