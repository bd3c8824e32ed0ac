"""Writes findings/tensor_mechanics.md and its chart from results/tensor_mechanics.json; measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.patches import Rectangle

from research.common import charts, machine, pages
from research.common.tables import table

Json = dict[str, Any]

_TITLES = {"channels": "Channels of layers in a row", "view": "View of turned tensors", "camera": "Points by a camera"}


def write(measured: Path, folder: Path) -> list[Path]:
    """Writes the page and its chart, see :func:`research.common.pages.write`."""
    return pages.write("tensor_mechanics", measured, folder, chart=chart, markdown=markdown)


def figures(value: Json) -> list[str]:
    """Returns the lines of the README's figures."""
    rows = []
    for name, title in {**_TITLES, "all": "all"}.items():
        found = value["counts"][name]
        held = f"{found['evidence_holds']} of {found['evidence']}"
        stated = f"{found['as_expected']} of {found['cases']}"
        rows.append([title, *(str(found[key]) for key in ("cases", "raise", "silent")), stated, held])
    header = ["question", "cases", "raise", "silently wrong", "as stated", "evidence true"]
    return [*table(header, rows), *(f"- {line}" for line in sentences(value))]


def sentences(value: Json) -> list[str]:
    """Returns what the comparisons with the libraries found, a sentence each."""
    views, stacks, cameras = (value["evidence"][name] for name in ("views", "stacks", "cameras"))
    share = views["possible_not_contiguous"] / (views["possible"] - views["empty"])
    lines = [
        f"`view_stride` and `Tensor.view` agree on {views['agree']:,} of {views['views']:,} views: all shapes of at "
        f"most {views['new_dimensions']} dimensions, asked of all {views['tensors']:,} tensors of at most "
        f"{views['dimensions']} dimensions with sizes of {_words(views['sizes'])} and strides of "
        f"{_words(views['strides'])}. {views['possible']:,} are possible, with the same strides in "
        f"{views['strides_agree']:,}. {views['empty']:,} of these are of tensors without elements; of the others "
        f"{share * 100:.1f} % are of tensors that are not contiguous (all strides count alike here, which says nothing "
        "about how often they occur), so `is_contiguous()` is sufficient and not necessary.",
        f"`check_stack` names the layer that PyTorch refuses, or no layer, in {stacks['same_layer']:,} of "
        f"{stacks['stacks']:,} random stacks ({stacks['faulty']:,} of them faulty); the shapes before it are the same "
        f"in {stacks['same_shapes']:,}. Of {stacks['mendable']:,} with faults of channels or features only, "
        f"{stacks['mended_runs']:,} run with the numbers that the check gives.",
    ]
    if "absent" in cameras:
        return [*lines, f"`project_camera` was not compared with OpenCV: {cameras['absent']}."]
    apart = cameras["difference_px"]
    return [
        *lines,
        f"`project_camera` differs from OpenCV {cameras['opencv']} by at most {apart['float64']:.1e} pixels in float64 "
        f"and {apart['float32']:.1e} in float32, for the points in front of {cameras['cameras']:,} random cameras. Of "
        f"{cameras['behind']:,} points behind them, `project_camera` gives NaN for {cameras['behind_nan']:,} and "
        f"`cv2.projectPoints` finite pixels for {cameras['behind_finite_in_opencv']:,}.",
    ]


def _words(numbers: Sequence[int]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def markdown(value: Json) -> str:
    """Returns the page."""
    found = value["counts"]["all"]
    lines = [
        "# Tensor mechanics",
        "",
        "Generated from `results/tensor_mechanics.json` by `scripts/findings.sh`; measured by "
        "`research.tensor_mechanics.run`, see `research/tensor_mechanics/README.md`.",
        "",
        f"{found['cases']} failing forms ran beside their mended ones: {found['raise']} raise an exception, "
        f"{found['silent']} raise nothing and give wrong numbers or a wrong shape. {found['as_expected']} of "
        f"{found['cases']} did what is stated here, and {found['evidence_holds']} of {found['evidence']} statements "
        "about the mended forms are true.",
        "",
        *(f"- {line}" for line in sentences(value)),
        "",
        "![places in memory of a tensor and of its transpose; a picture viewed instead of permuted; a cube around a "
        "camera](tensor_mechanics.png)",
        "",
    ]
    for name, title in _TITLES.items():
        lines += [f"## {title}", "", *_question(value, name)]
    opencv = value["evidence"]["cameras"].get("opencv")
    lines.append(f"Measured on {machine.words(value)}" + (f"; OpenCV {opencv}." if opencv else "."))
    return "\n".join(lines) + "\n"


def _question(value: Json, name: str) -> list[str]:
    lines = ["All begin with", "", "```python", value["setup"][name], "```", ""]
    if name == "view":
        rows = [
            [
                f"`{row['code']}`",
                *(str(tuple(row[key])) for key in ("shape", "stride")),
                str(row["offset"]),
                "yes" if row["contiguous"] else "no",
                "shared" if row["shares"] else "a copy",
                ", ".join(map(str, row["places"])),
            ]
            for row in value["steps"]
        ]
        header = ["after", "shape", "stride", "offset", "contiguous", "memory of x", "places in reading order"]
        lines += table(header, rows, [False] * len(header))
    rows = [
        [row["name"], _code(row["wrong"]), happened(row), row["reason"], f"{_code(row['mended'])}<br>{right(row)}"]
        for row in value["cases"]
        if row["question"] == name
    ]
    header = ["case", "fails", "what happens", "why", "mended"]
    return [*lines, *table(header, rows, [False] * len(header))]


def _code(code: str) -> str:
    lines = [line.rstrip() for line in code.splitlines()]
    return "<br>".join(f"`{line}`" for line in lines)


def happened(row: Json) -> str:
    """Returns what a failing form did: the exception's type and first line, or the wrong numbers."""
    raised = row["happened"]["raises"]
    text = f"{raised['type']}: {raised['message']}" if raised else f"no error: {_result(row['happened'])}"
    return text if row["as_expected"] else f"{text} (not as stated)"


def right(row: Json) -> str:
    """Returns what a mended form gave, and how much of the evidence for it is true."""
    true = [each["holds"] for each in row["evidence"]]
    doubt = "" if all(true) else f"; {true.count(False)} of {len(true)} statements are false"
    return f"{_result(row['right'])}{doubt}"


def _result(recorded: Json) -> str:
    found = recorded.get("numbers", recorded.get("shows", recorded.get("shape")))
    what = "" if "numbers" in recorded else "shape "
    return f"{what}`{found}`"


def chart(value: Json) -> Any:
    """Draws memory, reading order, a picture's channel by permute and by view, and a cube around a camera."""
    figure, axes = charts.pyplot.subplots(2, 3, figsize=(12.5, 7.6))
    steps = {row["code"]: row for row in value["steps"]}
    for place, code in zip(axes[0], ("x", "x.transpose(0, 1)"), strict=False):
        _memory(place, steps[code])
    _order(axes[0, 2], steps)
    for place, (way, title) in zip(
        axes[1],
        (("permute", "red disc: channel 0 by permute(2, 0, 1)"), ("view", "the same by view(3, h, w)")),
        strict=False,
    ):
        _picture(place, value["drawing"]["picture"][way])
        place.set_title(title, fontsize=10)
        place.set_xticks([])
        place.set_yticks([])
    _cube(axes[1, 2], value["drawing"]["cube"])
    figure.tight_layout()
    return figure


def _picture(axes: Any, rows: Sequence[Sequence[int]]) -> None:
    """Draws a picture of zeros and ones as bars, so that the report's chart stays a small drawing."""
    axes.set_facecolor("black")
    axes.grid(False)
    for number, row in enumerate(rows):
        edges = [place for place in range(len(row) + 1) if (row[place - 1] if place else 0) != (*row, 0)[place]]
        bars = [(start, end - start) for start, end in zip(edges[::2], edges[1::2], strict=True)]
        axes.broken_barh(bars, (number, 1), color="white", linewidth=0)
    axes.set_xlim(0, len(rows[0]))
    axes.set_ylim(len(rows), 0)
    axes.set_aspect("equal")


def _memory(axes: Any, row: Json) -> None:
    """Draws a tensor of two dimensions: in each cell its place in memory, and the way that is read."""
    height, width = row["shape"]
    for number, place in enumerate(row["places"]):
        down, along = divmod(number, width)
        axes.add_patch(Rectangle((along, down), 1, 1, fill=False, edgecolor="0.5"))
        axes.text(along + 0.5, down + 0.62, str(place), ha="center", va="center", fontsize=12)
    for down in range(height):
        style = {"arrowstyle": "->", "color": charts.COLOURS[1], "linewidth": 1.2}
        axes.annotate("", (width - 0.1, down + 0.25), (0.1, down + 0.25), arrowprops=style)
    axes.set_xlim(-0.1, 4.1)
    axes.set_ylim(4.1, -0.1)
    axes.set_aspect("equal")
    axes.axis("off")
    axes.set_title(
        f"{row['code']}: places in memory\nshape {tuple(row['shape'])}, stride {tuple(row['stride'])}", fontsize=10
    )


def _order(axes: Any, steps: dict[str, Json]) -> None:
    for number, code in enumerate(("x", "x.transpose(0, 1)", "x[:, ::2]", "x[:, 1:3]")):
        row = steps[code]
        axes.plot(
            row["places"],
            linestyle=charts.DASHES[number],
            marker=charts.MARKERS[number],
            color=charts.COLOURS[number],
            label=code,
        )
    axes.set_xlabel("number of the element in reading order")
    axes.set_ylabel("its place in memory")
    axes.set_title("a straight line can be viewed in one dimension", fontsize=10)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.18), frameon=False, ncols=2)
    charts.grid(axes)


def _cube(axes: Any, cube: Json) -> None:
    seen = [depth > 0 for depth in cube["depth"]]
    for first, second in cube["edges"]:
        both = seen[first] and seen[second]
        points = [cube["divided"][each] for each in (first, second)]
        axes.plot(
            *zip(*points, strict=True), color="black" if both else "0.75", linestyle="-" if both else ":", linewidth=1.2
        )
    for flag, marker, colour, label in (
        (True, "o", charts.COLOURS[0], "in front"),
        (False, "X", charts.COLOURS[5], "behind: NaN; divided anyway, mirrored to here"),
    ):
        points = [point for point, here in zip(cube["divided"], seen, strict=True) if here is flag]
        axes.plot(*zip(*points, strict=True), linestyle="none", marker=marker, color=colour, label=label)
    axes.invert_yaxis()
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel("u, pixels")
    axes.set_ylabel("v, pixels")
    axes.set_title("corners of a cube around the camera", fontsize=10)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.18), frameon=False)
    charts.grid(axes)
