"""Writes findings/tensorrt.md and its chart from results/tensorrt.json; measures nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from research.common import charts, machine, pages
from research.common.tables import table
from research.tensorrt import build_engine, plugin_build

Json = dict[str, Any]

# As charts and tables name the models.
NAMES: Mapping[str, str] = {
    "shipped": "shipped, with the function",
    "fp32": "fp32",
    "fp16": "fp16",
    "int8": "int8 (symmetric)",
    "shipped int8": "int8 as shipped",
}


def write(measured: Path, folder: Path) -> list[Path]:
    """Writes the page and its chart, see :func:`research.common.pages.write`."""
    return pages.write("tensorrt", measured, folder, chart=chart, markdown=markdown)


def chart(value: Json) -> Any:
    """Draws latency by candidate where a GPU measured it, otherwise the operators of the graph and who takes them."""
    return latency_chart(value["bench"]) if value["bench"]["rows"] else operator_chart(value)


def latency_chart(bench: Json) -> Any:
    """Draws the median time on the device, with the 95th percentile as a whisker, one group a batch size."""
    labels = list(dict.fromkeys(f"{row['name']}, {row['precision']}" for row in bench["rows"]))
    batches = sorted({row["batch"] for row in bench["rows"]})
    found = {(row["batch"], f"{row['name']}, {row['precision']}"): row["device_ms"] for row in bench["rows"]}
    figure, axes = charts.pyplot.subplots(figsize=(11, 4.5))

    def times(group: str, series: str) -> Json | None:
        return found.get((int(group.split()[-1]), series))

    def height(group: str, series: str) -> float | None:
        cell = times(group, series)
        return None if cell is None else float(cell["p50"])

    def spread(group: str, series: str) -> tuple[float, float]:
        cell = times(group, series) or {"p50": 0.0, "p95": 0.0}
        return float(cell["p50"]), float(cell["p95"])

    charts.grouped_bars(axes, [f"batch {batch}" for batch in batches], labels, height, spread)
    axes.set_yscale("log")
    axes.set_ylabel("ms on the device, median and 95th percentile")
    axes.set_title(bench["gpu"]["name"])
    charts.legend_beside(figure, axes)
    return figure


def operator_chart(value: Json) -> Any:
    """Draws how many nodes of each operator a form has; those that the published list refuses stand out."""
    models = value["published"]["models"]
    figure, panels = charts.pyplot.subplots(1, len(models), figsize=(3.4 * len(models), 5.2), squeeze=False)
    for axes, (name, view) in zip(panels[0], models.items(), strict=True):
        rows = list(reversed(view["operators"]))
        for at, row in enumerate(rows):
            good = row["supported"]
            style = {"color": charts.FILLS[1 if good else 0], "hatch": charts.HATCHES[0 if good else 1]}
            axes.barh(at, row["nodes"], edgecolor="black", linewidth=0.6, **style)
            axes.text(row["nodes"], at, f" {row['nodes']}{'' if good else ' refused'}", va="center", fontsize=7)
        axes.set_yticks(range(len(rows)), [row["operator"] for row in rows], fontsize=7)
        axes.set_title(f"{NAMES.get(name, name)}\n{'accepted' if view['accepted'] else 'refused'}", fontsize=9)
        axes.set_xlabel("nodes")
        axes.margins(x=0.4)
        charts.grid(axes, "x")
    figure.suptitle(f"Operators against the list of TensorRT {value['published']['release']}", fontsize=10)
    figure.tight_layout()
    return figure


def figures(value: Json) -> list[str]:
    """Returns the lines of the README's block of figures."""
    return [*sentences(value), "", *parser_table(value), *agreement_table(value)][:-1]


def sentences(value: Json) -> list[str]:
    """Returns what came out, one sentence an entry."""
    inlining, published, plugin = value["inlining"], value["published"], value["plugin"]
    largest = max(number for kind in inlining["largest_difference"].values() for number in kind.values())
    good = [NAMES[name] for name, view in published["models"].items() if view["accepted"]]
    bad = [NAMES[name] for name, view in published["models"].items() if not view["accepted"]]
    told = [
        f"Inlining turns {inlining['nodes_before']} nodes into {inlining['nodes_after']} of standard operators (with "
        f"float32 weights, without their Casts); outputs differ by at most {largest:.1e}.",
        f"The list of TensorRT {published['release']} accepts {'; '.join(good) or 'no form'}"
        + (f", and refuses {'; '.join(bad)}." if bad else "."),
        _relu_sentence(published["models"]),
        _eight_bits_sentence(value["agreement"]),
        _parser_sentence(value["parser"]),
        _plugin_sentence(plugin),
        _bench_sentence(value["bench"]),
    ]
    return [f"- {each}" for each in told]


def _relu_sentence(models: Json) -> str:
    def count(name: str) -> int:
        return sum(int(row["nodes"]) for row in models[name]["operators"] if row["operator"] == "Relu")

    return (
        f"{count('int8') - count('shipped int8')} of the {count('int8')} Relu nodes of the 8-bit form were put back: "
        "in the shipped file the conversion to uint8 cuts off what is negative."
    )


def _eight_bits_sentence(agreement: Json) -> str:
    """How both 8-bit forms agree with float32; which of them is worse by what."""
    rows = {row["form"]: row for row in agreement["rows"]}
    ours, shipped = rows["int8"], rows["shipped int8"]
    names = {"mean_change_of_similarity": "mean", "largest_change_of_similarity": "most"}
    worse = [word for key, word in names.items() if ours[key] > shipped[key]]
    worse += ["least cosine"] if ours["min_cosine"] < shipped["min_cosine"] else []
    numbers = [
        f"by {row['mean_change_of_similarity']:.1e} on average and {row['largest_change_of_similarity']:.1e} at most, "
        f"with a least cosine of {row['min_cosine']:.5f}"
        for row in (ours, shipped)
    ]
    return (
        f"On the CPU the symmetric 8-bit form moves similarities {numbers[0]}, the 8-bit form as shipped {numbers[1]}: "
        f"it is worse by {', '.join(worse) or 'no measure'} of these three. That is agreement with float32 in "
        f"{agreement['pairs']} pairs of {agreement['pictures']} views; no accuracy was measured."
    )


def _parser_sentence(parser: Json) -> str:
    if parser["library"] is None:
        return f"NVIDIA's parser was not asked: {parser['reason']}."
    models = parser["models"]
    good = [NAMES[name] for name, each in models.items() if each["accepted"]]
    built = [name for name, each in models.items() if each["engine_mb"] is not None]
    text = f"The parser of {parser['library']} accepts {'; '.join(good) or 'none of the files'}"
    refused = [f"{NAMES[name]} ({each['error'].split(' In ')[0]})" for name, each in models.items() if each["error"]]
    text += f", and refuses {'; '.join(refused)}" if refused else ""
    return f"{text}; it built engines of {', '.join(built)} without a GPU." if built else f"{text}."


def _plugin_sentence(plugin: Json) -> str:
    if plugin["failed"] and plugin["test"] is None:
        return f"**The plugin failed**: {plugin['failed']}."
    if plugin["test"] is None:
        return f"The plugin was not compiled: {'; '.join(plugin['missing'])}."
    test = plugin["test"]
    against = plugin_build.described(test["headers"], plugin["headers_note"])
    text = f"The plugin compiles against {against} with all warnings as errors"
    text += f"; {test['failed'] or 'none'} of its test's expectations failed"
    if plugin["build"]:
        text += f"; with the CUDA kernel it has {plugin['build']['bytes'] / 1e6:.1f} MB"
    if plugin["registered"]:
        text += f"; {plugin['registered']['by']} loads and registers it"
    text += f". **It failed after that**: {plugin['failed']}" if plugin["failed"] else ""
    return text + (f". Missing: {'; '.join(plugin['missing'])}." if plugin["missing"] else ".")


def _bench_sentence(bench: Json) -> str:
    if bench["gpu"] is None:
        return (
            f"**No time was measured**: {bench['reason']}; {bench['tensorrt_missing'] or bench['tensorrt']}. "
            f"On a machine with a GPU and TensorRT: `{bench['command']}`."
        )
    text = f"Measured on {bench['gpu']['name']}: {len(bench['rows'])} rows"
    left = [f"{each['name']}, {each['precision']} ({each['reason']})" for each in bench["not_measured"]]
    return f"{text}; not measured: {'; '.join(left)}." if left else f"{text}."


def parser_table(value: Json) -> list[str]:
    """Returns what the list and the parser say of each model, and the engines, as a table."""
    rows = []
    asked = value["parser"]["models"]
    for name in dict.fromkeys([*asked, *value["published"]["models"]]):
        view = value["published"]["models"].get(name)
        parsed = asked.get(name)
        nodes = str(view["nodes"]) if view else "not inlined"
        listed = _yes(view["accepted"]) if view else "not on it: a function"
        layers = str(sum(parsed["layers"].values())) if parsed and parsed["accepted"] else ""
        engine = f"{parsed['engine_mb']:.1f}" if parsed and parsed["engine_mb"] else ""
        seconds = f"{parsed['build_seconds']}" if parsed and parsed["build_seconds"] else ""
        said = _yes(parsed["accepted"]) if parsed else "not asked"
        rows.append([NAMES.get(name, name), nodes, listed, said, layers, engine, seconds])
    header = ["model", "nodes", "published list", "parser", "layers", "engine, MB", "built in, s"]
    return table(header, rows, [False, True, False, False, True, True, True])


def _yes(good: bool) -> str:
    return "accepted" if good else "refused"


def agreement_table(value: Json) -> list[str]:
    """Returns how near the forms' embeddings come to the shipped model's."""
    rows = [
        [
            NAMES.get(row["form"], row["form"]),
            f"{row['min_cosine']:.5f}",
            f"{row['mean_change_of_similarity']:.1e}",
            f"{row['largest_change_of_similarity']:.1e}",
        ]
        for row in value["agreement"]["rows"]
    ]
    return table(["form, on the CPU", "least cosine", "similarities move by, mean", "at most"], rows)


def bench_table(bench: Json) -> list[str]:
    """Returns the times as a table, what ran, and what was not measured with the reason."""
    if not bench["rows"]:
        names = [f"{each['name']}, {each['precision']}" for each in bench["not_measured"]]
        return [f"Not measured: {'; '.join(names)}. {bench['reason']}; {bench['tensorrt_missing']}.", ""]
    rows = [
        [
            f"{row['name']}, {row['precision']}",
            str(row["batch"]),
            *(f"{row[clock][name]}" for clock in ("device_ms", "wall_ms") for name in ("p50", "p95")),
            f"{row['images_per_s']:.0f}",
            "" if row["min_cosine"] is None else f"{row['min_cosine']:.5f}",
        ]
        for row in sorted(bench["rows"], key=lambda row: int(row["batch"]))
    ]
    header = ["candidate", "batch", "device p50, ms", "p95", "wall p50, ms", "p95", "images/s", "least cosine"]
    ran = [
        [f"{each['name']}, {each['precision']}", "; ".join(f"{key} {each[key]}" for key in list(each)[2:])]
        for each in bench["ran"]
    ]
    missing = [[f"{each['name']}, {each['precision']}", each["reason"]] for each in bench["not_measured"]]
    return [
        *table(header, rows),
        *table(["candidate", "what ran, in its own words"], ran, [False, False]),
        *(table(["not measured", "why"], missing, [False, False]) if missing else []),
    ]


def findings_table(value: Json) -> list[str]:
    """Returns what the published list refuses, and where."""
    rows = [
        [NAMES.get(name, name), each["operator"], each["what"], str(each["nodes"]), each["first"]]
        for name, view in value["published"]["models"].items()
        for each in view["findings"]
    ]
    header = ["model", "operator", "what", "nodes", "the first"]
    return table(header, rows, [False, False, False, True, False]) if rows else ["Nothing is refused.", ""]


def operator_table(value: Json) -> list[str]:
    """Returns the operators of all listed models with their types and counts."""
    models = value["published"]["models"]
    cells = {name: {row["operator"]: row for row in view["operators"]} for name, view in models.items()}
    operators = sorted({operator for rows in cells.values() for operator in rows})

    def cell(name: str, operator: str) -> str:
        row = cells[name].get(operator)
        return (
            "" if row is None else f"{row['nodes']} ({', '.join(row['types'])})" + ("" if row["supported"] else " no")
        )

    rows = [[operator, *(cell(name, operator) for name in models)] for operator in operators]
    return table(["operator", *(NAMES.get(name, name) for name in models)], rows, [False] * (len(models) + 1))


def command_lines(value: Json) -> list[str]:
    """Returns command lines of trtexec: engines of all forms with release 11, and one that measures."""
    newest = f"build_{max(build_engine.RELEASES)}"
    found = value["commands"]
    return [
        "```",
        *(texts[newest] for texts in found.values()),
        found["fp16"]["measure"],
        "```",
        "",
        "In release 10 `--stronglyTyped` is needed as well. The files are written by "
        "`python -m research.tensorrt.build_engine`, which builds the same engines by the Python API.",
        "",
    ]


def markdown(value: Json) -> str:
    """Returns the page."""
    alt = "latency by candidate" if value["bench"]["rows"] else "operators of each form, and what the list refuses"
    lines = [
        "# TensorRT",
        "",
        "Generated from `results/tensorrt.json` by `scripts/findings.sh`; measured by `research.tensorrt.run`, see "
        "`research/tensorrt/README.md`.",
        "",
        *sentences(value),
        "",
        f"![{alt}](tensorrt.png)",
        "",
        "## The files",
        "",
        *parser_table(value),
        f"The list is that of {value['published']['source']}; it takes opset {value['published']['opsets'][0]} to "
        f"{value['published']['opsets'][1]}.",
        "",
        *findings_table(value),
        *operator_table(value),
        "## Agreement",
        "",
        f"{value['agreement']['pictures']} pictures ({value['agreement']['origin']}), {value['agreement']['pairs']} "
        "pairs, computed by ONNX Runtime on the CPU: what the files say, not what the kernels of a GPU make of them.",
        "",
        *agreement_table(value),
        "## Times",
        "",
        *bench_table(value["bench"]),
        "## Commands of trtexec",
        "",
        *command_lines(value),
        f"Made on {machine.words(value)}.",
        "",
    ]
    return "\n".join(lines)
