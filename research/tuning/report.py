"""Writes findings/tuning.md and its charts from results/tuning.json; measures nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from research.common import charts, machine, pages, results
from research.common.tables import table

Json = dict[str, Any]

_KINDS = {
    "tpe": "TPE",
    "random": "random search",
    "default": "default, restarts",
    "longer": "default, one long training",
}
_VERDICTS = {"better": "better", "worse": "worse", "none": "no difference"}
_STAND_IN = "Stand-in data: scikit-learn's digits. Nothing here says anything about CIFAR-100."


def write(measured: Path, folder: Path) -> list[Path]:
    """Writes the page and its charts from `measured`/tuning.json; returns the files.

    Raises:
        OSError: The result is missing, or a file cannot be written.
    """
    written = pages.write("tuning", measured, folder, chart=chart, markdown=markdown)
    value = results.read(measured / "tuning.json")
    for name, draw in (("importance", importance_chart), ("final", final_chart)):
        path = folder / f"tuning_{name}.png"
        charts.save(draw(value), path)
        written.append(path)
    return written


def best_so_far(value: Json, kind: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Returns float64 [searches, budget + 1]: the best score after each number of epochs; NaN before the first."""
    grid = np.arange(value["settings"]["budget"] + 1)
    lines = []
    for row in value["searches"]:
        if row["kind"] == kind:
            place = np.searchsorted(row["curve"]["epochs"], grid, side="right") - 1
            scores = np.array([*row["curve"]["best"], np.nan])
            lines.append(scores[place])
    return np.array(lines)


def chart(value: Json) -> Any:
    """Draws the best validation accuracy so far against the epochs used, with a band over the seeds."""
    figure, axes = charts.pyplot.subplots(figsize=(9.5, 4.4))
    budget = value["settings"]["budget"]
    for number, (kind, name) in enumerate(_KINDS.items()):
        lines = best_so_far(value, kind)
        colour = charts.COLOURS[number]
        if kind == "longer":
            last = lines[:, -1]
            middle = last.mean()
            axes.errorbar(
                [budget],
                [middle],
                [[middle - last.min()], [last.max() - middle]],
                marker=charts.MARKERS[number],
                color=colour,
                capsize=4,
                linestyle="none",
                label=name,
            )
            continue
        # A mean over some of the seeds only would jump when the next one has its first score.
        known = np.isfinite(lines).all(axis=0)
        epochs = np.flatnonzero(known)
        axes.step(
            epochs,
            lines[:, known].mean(axis=0),
            where="post",
            color=colour,
            linestyle=charts.DASHES[number],
            label=name,
        )
        low, high = lines[:, known].min(axis=0), lines[:, known].max(axis=0)
        axes.fill_between(epochs, low, high, step="post", color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("epochs used, pruned and failed trials included")
    axes.set_ylabel("best validation accuracy so far")
    charts.grid(axes)
    charts.legend_beside(figure, axes)
    return figure


def importance_chart(value: Json) -> Any:
    """Draws the importance of each hyper-parameter, with lowest and highest over the seeds."""
    figure, axes = charts.pyplot.subplots(figsize=(8, 4))
    rows = value["importance"]["rows"]
    if not rows:
        axes.text(0.5, 0.5, "too few complete trials", ha="center")
        return figure
    means = np.array([row["mean"] for row in rows])
    ends = [means - [row["lowest"] for row in rows], [row["highest"] for row in rows] - means]
    axes.errorbar(range(len(rows)), means, ends, marker="s", color="black", capsize=4, linestyle="none")
    axes.set_xticks(range(len(rows)), [row["name"].replace("_", "\n") for row in rows])
    axes.set_ylim(0, None)
    charts.grid(axes, "y")
    axes.set_ylabel("importance (PED-ANOVA), a share")
    figure.tight_layout()
    return figure


def final_chart(value: Json) -> Any:
    """Draws the test accuracies of default, winner and longer training: of each seed, and means with intervals."""
    figure, axes = charts.pyplot.subplots(figsize=(7, 4))
    names = ("default", "winner", "longer")
    for several in zip(*(value["final"]["accuracies"][name] for name in names), strict=True):
        axes.plot(range(len(names)), several, color="0.6", marker="o", markersize=4, linewidth=0.8)
    for place, name in enumerate(names):
        mean = value["final"][name]
        ends = [[mean["value"] - mean["low"]], [mean["high"] - mean["value"]]]
        axes.errorbar([place + 0.12], [mean["value"]], ends, marker="s", color="black", capsize=4)
    epochs, budget = value["settings"]["epochs"], value["settings"]["budget"]
    axes.set_xticks(
        range(len(names)), [f"default,\n{epochs} epochs", f"winner,\n{epochs} epochs", f"default,\n{budget} epochs"]
    )
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylabel("test accuracy")
    charts.grid(axes, "y")
    figure.tight_layout()
    return figure


def percent(mean: Json) -> str:
    """Returns "41.2 % (40.1 to 42.3)", or without brackets if there is no interval."""
    text = f"{100 * mean['value']:.1f} %"
    return text if mean["low"] is None else f"{text} ({100 * mean['low']:.1f} to {100 * mean['high']:.1f})"


def points(mean: Json) -> str:
    """Returns a difference of percentages, "+1.2 points (-0.3 to +2.7)"."""
    return f"{100 * mean['value']:+.1f} points ({100 * mean['low']:+.1f} to {100 * mean['high']:+.1f})"


def _p(row: Json) -> str:
    return "" if row["p"] is None else f", p = {row['p']:.2g}"


def conclusion(value: Json) -> str:
    """Returns what came out, in words that follow from the intervals, at equal epochs and against a longer training."""
    found, settings = value["final"], value["settings"]
    longer, epochs = found["longer_difference"], settings["epochs"]
    words = {"better": "is better than", "worse": "is worse than", "none": "shows no difference to"}
    return (
        f"On the test set, trained for {epochs} epochs with each seed, the winner of the searches "
        f"{words[found['verdict']]} the default trained for {epochs} epochs: {percent(found['winner'])} against "
        f"{percent(found['default'])}, {points(found['difference'])}{_p(found)}. It {words[longer['verdict']]} the "
        f"default trained for {settings['budget']} epochs, the budget of one search: {percent(found['longer'])}, "
        f"{points(longer)}{_p(longer)}. The searches that the winner was chosen from used {found['search_epochs']} "
        "epochs in total."
    )


def compared(value: Json, *, with_tpe: bool) -> list[str]:
    """Returns the comparisons of searches at equal epochs in words: those of TPE, or the others."""
    return [
        f"{_KINDS[row['first']]} against {_KINDS[row['second']]}: {points(row['difference'])}{_p(row)}, "
        f"{_VERDICTS[row['verdict']]}"
        for row in value["comparisons"]
        if (row["first"] == "tpe") == with_tpe
    ]


def searches_sentence(value: Json) -> str:
    """Returns how TPE compares with random search, restarts and a longer training at equal epochs."""
    words = compared(value, with_tpe=True)
    if not words:
        return "With one seed of each kind the searches cannot be compared."
    settings = value["settings"]
    return (
        f"Best validation accuracy after {settings['budget']} epochs each, differences of means over "
        f"{settings['searches']} searches of each kind by Welch's t-test: {'; '.join(words)}."
    )


def opened(value: Json) -> str:
    """Returns how often the test set was opened."""
    times = value["final"]["opened"]
    often = "once" if len(times) == 1 else f"{len(times)} times"
    return f"The test set was opened {often} in this run, at {' and '.join(times)}."


def optimism_sentence(value: Json) -> str:
    """Returns how much of the best validation score was luck."""
    found = value["optimism"]
    return (
        f"Optimism: the best trial scored {100 * found['validation']:.1f} % on {value['data']['validation']} "
        f"validation pictures. With other seeds its configuration scores {percent(found['again'])} on the same "
        f"pictures, which is a winner's curse of {points(found['to_again'])}; on the test set, trained on the "
        f"validation pictures too, it scores {percent(found['test'])}, an optimism of {points(found['to_test'])}. "
        f"These intervals take the best trial's score as it is. As a share of {value['data']['validation']} pictures "
        f"it has a standard error of {100 * found['validation_se']:.1f} points, beside which the difference to the "
        "test set has to be read."
    )


def edges(value: Json) -> list[str]:
    """Returns a line for each of the winner's values that is at an edge of its range."""
    lines = []
    for row in value["edges"]:
        name, at = row["name"], f"{row['value']:.3g}"
        advice = "which is a natural bound" if row["natural"] else "so the best value may be outside of the range"
        lines.append(f"- `{name}` {at} is within 5 % of the {row['bound']} bound {row['at']:.3g}, {advice}")
    return lines or ["- not one of the winner's values is within 5 % of a bound"]


def figures(value: Json) -> list[str]:
    """Returns the lines of the README's figures."""
    took = "" if value["seconds"] is None else f", in {value['seconds'] / 60:.0f} minutes"
    measured = f"Measured with the {value['form']} form{took}: {_pictures(value)}."
    head = [f"**{_STAND_IN}** {measured}" if value["data"]["stand_in"] else measured]
    sentences = [conclusion(value), searches_sentence(value), optimism_sentence(value), opened(value)]
    return [*head, "", *(f"- {each}" for each in sentences)]


def _pictures(value: Json) -> str:
    found = value["data"]
    return (
        f"{found['classes']} classes, {found['train']} training, {found['validation']} validation and "
        f"{found['held_back']} test pictures"
    )


def _kinds(value: Json) -> list[str]:
    rows = []
    for row in value["kinds"]:
        of_kind = [each for each in value["searches"] if each["kind"] == row["kind"]]
        counts = [str(sum(each[name] for each in of_kind)) for name in ("complete", "pruned", "failed")]
        used = "/".join(map(str, row["epochs_used"]))
        ends = f"{100 * row['lowest']:.1f} to {100 * row['highest']:.1f}"
        rows.append([_KINDS[row["kind"]], used, *counts, percent(row["mean"]), ends])
    header = ["search", "epochs", "complete", "pruned", "failed", "best validation accuracy", "lowest to highest"]
    return table(header, rows)


def _configurations(value: Json) -> list[str]:
    rows = []
    for row in value["space"]:
        limits = ", ".join(map(str, row["choices"])) if "choices" in row else f"{row['low']:g} to {row['high']:g}"
        chosen = value["winner"]["configuration"][row["name"]]
        words = [each if isinstance(each, str) else f"{each:.3g}" for each in (row["default"], chosen)]
        rows.append([f"`{row['name']}`", limits, row["scale"], *words])
    return table(["hyper-parameter", "range", "scale", "default", "winner"], rows, [False, False, False, True, True])


def _importance(value: Json) -> list[str]:
    rows = [
        [f"`{row['name']}`", f"{row['mean']:.2f}", f"{row['lowest']:.2f} to {row['highest']:.2f}"]
        for row in value["importance"]["rows"]
    ]
    if not rows:
        return ["A seed has too few complete trials for a statement on what matters.", ""]
    counts = ", ".join(map(str, value["importance"]["trials"]))
    words = f"PED-ANOVA over the complete trials of TPE and random search with the same seed ({counts} trials)."
    picture = "![importance of each hyper-parameter, with lowest and highest](tuning_importance.png)"
    return [words, "", *table(["hyper-parameter", "mean", "over the seeds"], rows), picture, ""]


def _failed(value: Json) -> list[str]:
    lost = sum(row["repeated_after_a_kill"] for row in value["searches"])
    again = f"{lost} trials were repeated after their process was killed." if lost else "No process was killed."
    rows = [[row["search"], str(row["trial"]), str(row["epochs"]), row["error"]] for row in value["failed"]]
    if not rows:
        return [f"No trial failed. {again}", ""]
    return [again, "", *table(["search", "trial", "epochs", "reason"], rows, [False, True, True, False])]


def _searches(value: Json) -> list[str]:
    others = compared(value, with_tpe=False)
    return [
        "## Equal epochs",
        "",
        searches_sentence(value) + (f" Others: {'; '.join(others)}." if others else ""),
        "",
        *_kinds(value),
        "![best validation accuracy so far against the epochs used](tuning.png)",
        "",
    ]


def _winner(value: Json) -> list[str]:
    winner = value["winner"]
    return [
        "## The winner",
        "",
        f"Trial {winner['trial']} of {winner['search']}. The rule: {winner['rule']}.",
        "",
        *_configurations(value),
        *edges(value),
        "",
    ]


def _final(value: Json) -> list[str]:
    found = value["final"]
    return [
        "## Test accuracy",
        "",
        f"The winner, the default, and the default with the epochs of one search, trained on training and validation "
        f"pictures with the same {value['settings']['repeats']} seeds, on {found['pictures']} test pictures. Intervals "
        "are Student's, over the seeds, and differences are paired by seed; how the pictures were drawn is not in "
        f"them. The choice was frozen at {value['winner']['frozen']}. {opened(value)}",
        "",
        "![test accuracy of each seed](tuning_final.png)",
        "",
        optimism_sentence(value),
        "",
    ]


def markdown(value: Json) -> str:
    """Returns the page."""
    found = value["data"]
    lines = [
        "# Tuning",
        "",
        *([f"**{_STAND_IN}**", ""] if found["stand_in"] else []),
        "Generated from `results/tuning.json` by `scripts/findings.sh`; measured by `research.tuning.run`, see "
        "`research/tuning/README.md`.",
        "",
        conclusion(value),
        "",
        *_searches(value),
        *_winner(value),
        *_final(value),
        "## What matters",
        "",
        *_importance(value),
        "## Failed trials",
        "",
        *_failed(value),
        f"Measured on {machine.words(value)}; load after {value['load_after']}. {value['form'].capitalize()} form, "
        f"{value['settings']['processes']} processes of one thread. {found['source']}, SHA-256 {found['sha256'][:16]}: "
        f"{_pictures(value)}.",
    ]
    return "\n".join(lines) + "\n"
