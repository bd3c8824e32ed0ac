"""What the report says. Every number comes from a JSON file; every judgement follows from a comparison of numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from research.report.charts import Charts, short_name
from research.report.document import Document, Writer
from research.report.results import Results, words

TITLE = "Near-duplicate images with one operator: ReductionResNet-18, from kernel to folder"
AUTHORS = "The rrn project. Generated from findings/results/*.json; see Section 6"

LITERATURE = {
    "resnet": "K. He, X. Zhang, S. Ren, J. Sun. Deep residual learning for image recognition. CVPR, 2016.",
    "ukbench": "D. Nistér, H. Stewénius. Scalable recognition with a vocabulary tree. CVPR, 2006.",
    "coco": "T.-Y. Lin et al. Microsoft COCO: common objects in context. ECCV, 2014.",
    "sscd": "E. Pizzi, S. D. Roy, S. N. Ravindra, P. Goyal, M. Douze. A self-supervised descriptor for image copy "
    "detection. CVPR, 2022.",
    "koleo": "A. Sablayrolles, M. Douze, C. Schmid, H. Jégou. Spreading vectors for similarity search. ICLR, 2019.",
    "fitnets": "A. Romero, N. Ballas, S. E. Kahou, A. Chassang, C. Gatta, Y. Bengio. FitNets: hints for thin deep "
    "nets. ICLR, 2015.",
    "prior": "Y. M. Asano, A. Saeed. The augmented image prior: distilling 1000 classes by extrapolating from a single "
    "image. ICLR, 2023.",
    "patient": "L. Beyer, X. Zhai, A. Royer, L. Markeeva, R. Anil, A. Kolesnikov. Knowledge distillation: a good "
    "teacher is patient and consistent. CVPR, 2022.",
    "similarity": "F. Tung, G. Mori. Similarity-preserving knowledge distillation. ICCV, 2019.",
    "relational": "W. Park, D. Kim, Y. Lu, M. Cho. Relational knowledge distillation. CVPR, 2019.",
    "cpc": "A. van den Oord, Y. Li, O. Vinyals. Representation learning with contrastive predictive coding. "
    "arXiv preprint, 2018.",
    "whitening": "H. Jégou, O. Chum. Negative evidences and co-occurrences in image retrieval: the benefit of PCA and "
    "whitening. ECCV, 2012.",
    "efficientnet": "M. Tan, Q. V. Le. EfficientNet: rethinking model scaling for convolutional neural networks. "
    "ICML, 2019.",
    "hnsw": "Y. A. Malkov, D. A. Yashunin. Efficient and robust approximate nearest neighbor search using hierarchical "
    "navigable small world graphs. IEEE TPAMI, 2020.",
    "faiss": "J. Johnson, M. Douze, H. Jégou. Billion-scale similarity search with GPUs. IEEE Transactions on Big "
    "Data, 2021.",
}


def build(results: Results, charts: Charts) -> tuple[Document, list[str]]:
    """Builds the document; returns it and what was not measured.

    Args:
        results: The numbers; what is computed from them is left in `results.derived`.
        charts: Draws the figures.
    """
    paper = Writer(results, LITERATURE)
    for section in (
        _abstract,
        _introduction,
        _method,
        _experiments,
        _what_did_not_work,
        _limits,
        _reproduction,
    ):
        section(paper, results, charts)
    return paper.document(TITLE, AUTHORS), paper.missing


def _compared(results: Results, expression: str, above: str, below: str, near: str = "", within: float = 0.02) -> str:
    """Words chosen by a ratio or difference: `above`, `below`, or `near` where it lies within a share of 1."""
    value = results.evaluate(expression)
    if near and abs(value - 1) <= within:
        return near
    return above if value > 1 else below


def _faster(results: Results, slow: str, fast: str, what: str) -> str:
    """Says by which factor the second duration is below the first one, or that it is above."""
    ratio = f"{slow} / {fast}"
    value = results.evaluate(ratio)
    if abs(value - 1) <= 0.05:
        return f"as fast as {what}, within 5 % (a factor of {{{ratio}|f2}})"
    if value > 1:
        return f"{{{ratio}|g2}} times as fast as {what}"
    return f"slower than {what}, which is {{{fast} / {slow}|g2}} times as fast"


def _way(name: str) -> str:
    """A library's name within a sentence: "faiss (flat)" instead of "faiss, flat"."""
    library, found, kind = name.partition(", ")
    return f"{library} ({kind})" if found else library


def _largest(results: Results, path: str, key: str) -> int:
    return int(max(results.values(path, key)))


def _ours(results: Results) -> str:
    """The path of the row that stands for rrn's own model in the evaluation: the first one."""
    return f"evaluation:rows[name={results.get('evaluation:rows')[0]['name']}]"


def _abstract(paper: Writer, results: Results, charts: Charts) -> None:
    del charts

    def pairs() -> str:
        most = _largest(results, "bench_pairs:rows", "rows")
        row = f"bench_pairs:rows[rows={most};way="
        others = [r["way"] for r in results.rows("bench_pairs:rows", rows=most) if r["way"] != "rrn"]
        said = words(_faster(results, f"{row}{way}].median_s", f"{row}rrn].median_s", _way(way)) for way in others)
        return (
            f"All similar pairs among {{{row}rrn].rows|n}} random embeddings are found exactly in "
            f"{{{row}rrn].median_s|g3}} s: {said}."
        )

    def network() -> str:
        row = "bench_network:rows[provider={};precision={};size=224;batch=8;threads=2].median_ms"
        fp32, bf16 = row.format("cpu", "fp32"), row.format("openvino", "bf16")
        return f"The network takes {{{fp32}|g3}} ms an image on two cores in fp32 and {{{bf16}|g3}} ms in bf16."

    def accuracy() -> str:
        ours = f"{_ours(results)}.groups.at_threshold.f1"
        teacher = "evaluation:rows[name=EfficientNet-Lite0].groups.at_threshold.f1"
        verdict = _compared(
            results,
            f"{ours} / {teacher}",
            "which is more than its teacher's own features reach",
            "less than its teacher's own features reach",
            "about what its teacher's own features reach",
        )
        return (
            f"On labelled photos the present weights reach an F1 of {{{ours}|f2}} at the fixed threshold, {verdict} "
            f"({{{teacher}|f2}}): the engine is further along than the weights."
            if results.evaluate(f"{ours} / {teacher}") < 1
            else f"On labelled photos the present weights reach an F1 of {{{ours}|f2}} at the fixed threshold, "
            f"{verdict} ({{{teacher}|f2}})."
        )

    paper.abstract(
        "rrn finds the similar images of a folder and counts the unique ones. Its embedding is made by one custom "
        "operator at the end of a ResNet-18: four stages are averaged over their pixels, repeated to 512 channels and "
        "averaged. The operator exists as C++ and CUDA kernels, as a PyTorch operator and as one node of an ONNX "
        "model, and images are similar when the cosine of their embeddings is above 0.75.",
        lambda: (
            "On the example photos PyTorch, ONNX Runtime with and without the operator's library, and the C++ engine "
            "agree to {validation:comparisons[what=embedding: C++ engine].max_abs|e1} or better in every number of an "
            "embedding."
        ),
        pairs,
        network,
        accuracy,
        "Every number in this text is read from a result file, and negative results have a section of their own.",
    )


def _introduction(paper: Writer, results: Results, charts: Charts) -> None:
    del results, charts
    paper.heading(1, "introduction", "Introduction")
    paper.paragraph(
        "A folder of photos fills with copies: resized, recompressed, cropped, sent through a messenger and saved "
        "again. Tools that find them compare hashes, which miss crops and mirror images, or features of a network, "
        "which cost time. What their users ask for most often is the same everywhere: collections without a matrix of "
        "all similarities in memory, speed, groups that honour the threshold instead of chaining through third "
        "images, counts that add up, and the same result on the next run.",
    )
    paper.paragraph(
        "rrn is an engine in C++ for this question, with thin Python bindings. It is also a worked example of another "
        "one: how a new operator gets from its definition into production. The operator is defined once, implemented "
        "for the CPU and for CUDA, and then met by every runtime through that runtime's own door: a custom-operator "
        "library for ONNX Runtime, a registered operator for PyTorch, a function of standard operators inside the "
        "model for everything else. The tests hold all of them to the same values.",
    )
    paper.paragraph("The contributions of this report are measurements:")
    paper.bullets(
        "the numerics of four implementations of one operator ({sec:numerics});",
        "what the embedding can and cannot tell apart, against its teacher, hashes and random weights "
        "({sec:accuracy});",
        "where the time of the whole program goes, against other tools on the same files ({sec:end_to_end});",
        "an exact search for all similar pairs whose filter provably loses none ({sec:pairs});",
        "what was tried and did not work ({sec:failures}).",
    )


def _method(paper: Writer, results: Results, charts: Charts) -> None:
    paper.heading(1, "method", "Method")
    paper.heading(2, "operator", "The operator")
    paper.paragraph(
        "Let *X_k* be K arrays with C_k channels, each a divisor of a common number of channels C. Every channel of "
        "array k is repeated C / C_k times in a row, and the K results are averaged:",
    )
    picture, inches = charts.formula(
        "formula",
        r"Y_{b,o} \;=\; \frac{1}{K}\,\sum_{k=1}^{K}\, X_{k}\left[b,\ \lfloor\, o \cdot C_k \,/\, C \,\rfloor\,\right]",
    )
    paper.equation("operator", picture, inches, "Y[b, o] = (1 / K) · sum over k of X_k[b, floor(o · C_k / C)]")
    paper.paragraph(
        "Feature maps [B, C_k, H_k, W_k] are averaged over their pixels first, in the same pass over memory. Here K "
        "is 4 and C is 512. Storage is float32, float16 or bfloat16, sums are float32 in every case and run in the "
        "order of the inputs, with one division at the end. So for arrays {eq:operator} is not just a definition up "
        "to rounding: every implementation can be held to the same bits, whatever its batch and threads. Averages "
        "over pixels depend on the order of their sums, and are compared within a tolerance derived from the number "
        "of pixels.",
    )
    paper.heading(2, "embedding", "The embedding")
    paper.paragraph(
        "ReductionResNet-18 is a ResNet-18 {cite:resnet} without its classifier. The outputs of its four stages, with "
        "64, 128, 256 and 512 channels, go into the operator ({fig:architecture}), so the embedding mixes edges and "
        "colours of the early stages with the objects of the late ones. All inputs are averages after a ReLU: no "
        "embedding has a negative component, and no cosine is below zero.",
        "Images are resized to 224 × 224 pixels with an antialiased triangle filter that equals Pillow's bit for bit, "
        "scaled by ImageNet's mean and standard deviation, and decoded at a fraction of their size where the format "
        "allows that (JPEG, WebP).",
    )
    paper.figure(
        "architecture",
        "ReductionResNet-18 for an image of 224 × 224 pixels. The dashed box is one node of the ONNX model together "
        "with its poolings; sizes are channels × height × width.",
        charts,
        "A row of boxes: image, stem and four stages; below each stage a mean over its pixels and a repetition to 512 "
        "channels; all four meet in a mean, the embedding.",
    )
    paper.heading(2, "grouping", "Similar, and groups")
    paper.paragraph(
        "Two images are similar when the cosine of their embeddings is above 0.75. A group is a representative and "
        "the images similar to *it*. Images are taken in the order of falling numbers of similar images, ties in the "
        "order of their paths; an image that is similar to no earlier representative becomes one, every other image "
        "joins the representative that it is most similar to. So nothing is chained through third images, no two "
        "representatives are similar, and the number of unique images is the number of groups plus the images in none.",
    )
    paper.heading(2, "search", "Exact search with an 8-bit filter")
    paper.paragraph(
        "All pairs of n embeddings are n (n − 1) / 2 products of 512 numbers. Most of them are far from similar, and "
        "products of bytes show that at a fraction of the cost. A row *x* of length 1 is rounded to s·q with integers "
        "from −127 to 127, leaving e = x − s·q; likewise y = t·p + f. By Cauchy and Schwarz:",
    )
    picture, inches = charts.formula(
        "bound", r"\left|\,x \cdot y \;-\; s\,t\;(q \cdot p)\,\right| \;\leq\; |x|\,|f| \;+\; |e|\,(|y| + |f|)"
    )
    paper.equation("bound", picture, inches, "|x·y − s·t·(q·p)| ≤ |x||f| + |e|(|y| + |f|)")
    paper.paragraph(
        "A pair whose byte product plus the bound of {eq:bound}, plus the rounding of the float32 sum itself, stays "
        "below the threshold cannot be similar; all others are computed in float32, in one fixed order. The result is "
        "that of the double loop, bit for bit. Byte products run on AMX, AVX-512 VNNI, AVX-VNNI, AVX2 or NEON. Besides "
        "the embeddings the search holds their bytes, a quarter of them, and its memory never grows with the square of "
        "their number. For collections beyond that there is an approximate search {cite:hnsw}, taken only when it "
        "is asked for and measures its own recall on a sample.",
    )
    paper.heading(2, "training", "Training")
    paper.paragraph(
        "This is how weights for rrn are trained; `models/README.md` has the commands of those that come with it.",
        "The weights are distilled: a student sees distorted crops, the teacher, EfficientNet-Lite0 "
        "{cite:efficientnet}, the clean ones {cite:patient}. Five terms are added. The batch's cosine matrix shall "
        "equal the teacher's {cite:similarity,relational}, after whitening {cite:whitening} and clamped at zero, "
        "which puts the cosine on a scale with a meaning; the last stage predicts the teacher's features through a "
        "linear head; the last three stages predict its maps of the distorted crop place by place {cite:fitnets}, each "
        "through a 1x1 convolution, so that a picture is some hundred examples (head and convolutions are thrown "
        "away); InfoNCE {cite:cpc} brings two distorted crops of a photo together, as for copy detection {cite:sscd}; "
        "and KoLeo {cite:koleo} spreads the embedding.",
        "There are few pictures with a free licence: the weights in use had {training_runs:photos.training|n} photos "
        "and no maps, later runs {training_runs:varied_pictures.training|n} photos and drawings ({sec:failures}). That "
        "many crops of few pictures can teach much is known {cite:prior}.",
    )


def _experiments(paper: Writer, results: Results, charts: Charts) -> None:
    paper.heading(1, "experiments", "Experiments")
    paper.paragraph(
        "Times are medians of rounds in which the candidates take turns, each round in another order.",
        lambda: _once(results),
        lambda: (
            "The benchmarks ran on a virtual machine with {bench_end_to_end:machine.cores|n} cores "
            "({bench_end_to_end:machine.processor|t}, {bench_end_to_end:machine.memory_gib|t} GiB), with "
            f"{_instructions(results)}; ONNX Runtime {{bench_end_to_end:versions.onnxruntime|t}}."
        ),
        lambda: _quick(results),
        "{sec:reproduction} names the commit of each measurement.",
    )
    _examples(paper, results, charts)
    _accuracy(paper, results, charts)
    _end_to_end(paper, results, charts)
    _decode(paper, results, charts)
    _network(paper, results, charts)
    _pairs(paper, results, charts)
    _growth(paper, results, charts)
    _operator(paper, results, charts)
    _numerics(paper, results)


def _once(results: Results) -> str:
    """Names the rows that were run a single time: they have no spread, and took no turns."""
    found = []
    for name, key in (("bench_end_to_end", "tool"), ("bench_pairs", "way")):
        if not results.has(f"{name}:rows"):
            continue
        rows = results.get(f"{name}:rows")
        several = {row[key] for row in rows if row.get("runs", 1) > 1}
        single = [row for row in rows if row.get("runs", 1) == 1]
        found += sorted({row[key] for row in single if row[key] not in several})
        found += [
            f"{_way(row[key])} with {{bench_pairs:rows[rows={row['rows']};way={row[key]}].rows|n}} rows"
            for row in single
            if row[key] in several
        ]
    if results.has("bench_growth:rows"):
        for row in results.rows("bench_growth:rows", runs=1):
            unit = "rows" if row["what"] == "search" else "pictures"
            count = f"{{bench_growth:rows[what={row['what']};count={row['count']}].count|n}}"
            found.append(f"the {row['what']} with {count} {unit}")
    return f"Run once, so that their spread is not known: {words(found)}." if found else ""


def _quick(results: Results) -> str:
    names = [name for name, _ in _RESULTS if name.startswith("bench_")]
    quick = [name for name in names if results.has(f"{name}:quick") and results.get(f"{name}:quick")]
    if not quick:
        return ""
    return f"*Made with tiny inputs, to try the machinery; these numbers mean nothing:* {words(quick)}."


def _instructions(results: Results) -> str:
    names = results.get("bench_end_to_end:machine.instructions")
    amx = [name for name in names if name.startswith("amx")]
    return f"matrix instructions ({words(amx)})" if amx else "no matrix instructions"


def _examples(paper: Writer, results: Results, charts: Charts) -> None:
    paper.heading(2, "examples", "The example photos")
    paper.paragraph(
        "`scripts/run.sh` runs the program on a folder of sample photos and of copies as people make them. It holds "
        "{example:result.files|n} files: {example:result.read|n} are read and {#example:result.skipped|n} skipped "
        "with a reason (for `broken.jpg`: {example:result.skipped[path=examples/photos/broken.jpg].reason|t}).",
        "The program finds {#example:result.groups|n} groups and counts {example:result.unique|n} unique images. "
        "{table:examples} lists them, {fig:examples} shows all similarities.",
        lambda: _surprises(results),
    )
    paper.figure(
        "examples",
        "Cosines of all pairs of the example photos, ordered by group. Framed and bold: above the threshold.",
        charts,
        "A triangular table of cosines; the framed cells are the pairs above the threshold.",
        0.92,
    )
    paper.table(
        "examples",
        "The groups of the example photos. Similarity is that to the representative.",
        ["group", "image", "similarity"],
        lambda: [
            row
            for index, group in enumerate(results.get("example:result.groups"), 1)
            for row in [
                [str(index), f"`{short_name(group['representative'])}`", "–"],
                *(
                    [
                        "",
                        f"`{short_name(member['path'])}`",
                        f"{{example:result.groups[representative={group['representative']}].members[path={member['path']}]"
                        ".similarity|f4}",
                    ]
                    for member in group["members"]
                ),
            ]
        ],
    )


def _stem(path: str) -> str:
    return short_name(path).split(".")[0].split("_")[0]


def _surprises(results: Results) -> str:
    """Names groups of different photos and copies that were missed; copies share the beginning of their names."""
    groups = [[g["representative"], *(m["path"] for m in g["members"])] for g in results.get("example:result.groups")]
    together = {path: index for index, paths in enumerate(groups) for path in paths}
    wrong = [paths for paths in groups if len({_stem(path) for path in paths}) > 1]
    names = [image["path"] for image in results.get("example:result.images")]
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(_stem(name), []).append(name)
    missed = [
        path
        for family in families.values()
        if len(family) > 1
        for path in family
        if all(together.get(path, path) != together.get(other, other) for other in family if other != path)
    ]
    said = []
    if wrong:
        listed = words(" with ".join(f"`{short_name(path)}`" for path in paths) for paths in wrong)
        said.append(f"Different photos are put together: {listed}.")
    if missed:
        said.append(f"Missed, though copies of other files: {words(f'`{short_name(path)}`' for path in missed)}.")
    return " ".join(said) or "No different photos are put together and no copy is missed."


def _accuracy(paper: Writer, results: Results, charts: Charts) -> None:
    paper.heading(2, "accuracy", "Accuracy")
    paper.paragraph(
        "Two questions are asked. Are different photos of one thing recognised? For that there are the first "
        "{evaluation:datasets.groups.photos|n} photos of UKBench {cite:ukbench}, "
        "{evaluation:datasets.groups.groups|n} things from several sides. Are copies recognised? For that, "
        "{evaluation:datasets.copies.copies|n} copies were generated of each of {evaluation:datasets.copies.photos|n} "
        "photos of {evaluation:datasets.copies.name|t} {cite:coco}, each by one transform. The photos were chosen "
        "as ones that no compared model was trained on, as far as that is known.",
        "The teacher's rows use its own features; whitened means 64 principal components, computed from the measured "
        "photos themselves, which flatters that row. pHash and dHash count equal bits of 64, so their 0.75 means 16 "
        "different bits. N-S is the mean number of photos of the own group among the four most similar, the photo "
        "itself included.",
    )

    def table(part: str) -> Callable[[], Sequence[Sequence[str]]]:
        def made() -> list[list[str]]:
            rows = []
            for row in results.get("evaluation:rows"):
                if part not in row:
                    continue
                base = f"evaluation:rows[name={row['name']}].{part}"
                cells = [row["name"]]
                if part == "groups":
                    cells.append(f"{{{base}.ns|f2}}")
                cells += [
                    f"{{{base}.average_precision|f3}}",
                    f"{{{base}.at_threshold.precision|f3}}",
                    f"{{{base}.at_threshold.recall|f3}}",
                    f"{{{base}.at_threshold.f1|f3}}",
                    f"{{{base}.best_f1.f1|f3}}",
                    f"{{{base}.best_f1.threshold|f3}}",
                    f"{{{base}.different_above_threshold|p2}}",
                ]
                rows.append(cells)
            return rows

        return made

    common = ["average precision", "precision", "recall", "F1", "best F1", "at", "unrelated above"]
    paper.table(
        "ukbench",
        "Different photos of one thing (UKBench). Precision, recall, F1 and the share of unrelated pairs are those at "
        "0.75; best F1 is that of the best threshold, which stands beside it.",
        ["", "N-S", *common],
        table("groups"),
    )
    paper.table(
        "copies",
        "Copies against originals (COCO). Columns as in {table:ukbench}.",
        ["", *common],
        table("copies"),
    )

    def verdict() -> str:
        ours = _ours(results)
        named = {row["name"] for row in results.get("evaluation:rows")}
        said = []
        for other, words_for in (("pHash", "the better of the two hashes"), ("EfficientNet-Lite0", "its teacher")):
            if other not in named:
                continue
            name = other
            if other == "pHash" and "dHash" in named:
                name = max(
                    ("pHash", "dHash"),
                    key=lambda hashed: results.get(f"evaluation:rows[name={hashed}].groups.at_threshold.f1"),
                )
            theirs = f"evaluation:rows[name={name}].groups.at_threshold.f1"
            word = _compared(results, f"{ours}.groups.at_threshold.f1 / {theirs}", "above", "below", "level with")
            said.append(f"{word} {words_for} ({{{theirs}|f2}})")
        return (
            f"For different photos of one thing, rrn's F1 of {{{ours}.groups.at_threshold.f1|f2}} at the fixed "
            f"threshold lies {words(said)} ({{table:ukbench}})."
        )

    def copies_verdict() -> str:
        ours = f"{_ours(results)}.copies.at_threshold.f1"
        better = [
            row["name"]
            for row in results.get("evaluation:rows")
            if "copies" in row and row["copies"]["at_threshold"]["f1"] > results.get(ours)
        ]
        if not better:
            return f"For copies its F1 of {{{ours}|f2}} is the highest of all rows ({{table:copies}})."
        listed = words(f"{name} ({{evaluation:rows[name={name}].copies.at_threshold.f1|f2}})" for name in better)
        return f"For copies its F1 is {{{ours}|f2}}, and higher ones are reached by {listed} ({{table:copies}})."

    def random_verdict() -> str:
        base = "evaluation:rows[name=random].groups"
        return (
            "Untrained weights are instructive: they rank photos better than one would think (average precision "
            f"{{{base}.average_precision|f2}}), but {{{base}.different_above_threshold|p0}} of unrelated pairs lie "
            f"above "
            "the threshold. Training has to give the cosine its scale before anything else ({fig:histograms})."
        )

    paper.paragraph(
        verdict,
        copies_verdict,
        random_verdict,
        "{fig:curves} shows all thresholds, for those who choose their own.",
    )
    paper.figure(
        "histograms",
        "How the cosines of related and unrelated pairs are distributed (UKBench). The dotted line is the threshold; "
        "the share is logarithmic above one per cent.",
        charts,
        "Histograms of cosines for related and unrelated pairs, one panel for each way to describe a picture.",
    )
    paper.figure(
        "curves",
        "Precision and recall over all thresholds: different photos of one thing, and copies against originals.",
        charts,
        "Curves of precision over recall, two panels.",
    )

    def transforms() -> str:
        base = f"{_ours(results)}.copies.transforms"
        found = results.get(base)
        order = sorted(found, key=lambda name: found[name]["recall_at_threshold"])
        worst = words(f"{name} ({{{base}.{name}.recall_at_threshold|p0}})" for name in order[:4])
        whole = [name for name in order if found[name]["recall_at_threshold"] >= 0.99]
        best = f", while at least 99 % are found after {words(whole)}" if whole else ""
        return f"{{fig:transforms}} takes the copies apart. Hardest for the present weights are {worst}{best}."

    paper.paragraph(transforms)
    paper.figure(
        "transforms",
        "Share of copies that are similar to their original, by transform, sorted by the share that rrn finds.",
        charts,
        "Points for each transform and each way to describe a picture.",
    )


def _end_to_end(paper: Writer, results: Results, charts: Charts) -> None:
    paper.heading(2, "end_to_end", "From a folder to similar pairs")
    rows = "bench_end_to_end:rows"

    def about() -> str:
        sizes = results.values(rows, "size")
        listed = words(f"{{bench_end_to_end:folders.{size}.files|n}} of {size}" for size in sizes)
        return (
            f"Whole programs were timed from their start, on JPEG files with planted copies: {listed} "
            f"({{fig:end_to_end}}, {{table:end_to_end}})."
        )

    def against(size: str) -> Callable[[], str]:
        def said() -> str:
            base = f"{rows}[size={size};tool="
            mine = f"{base}rrn].median_s"
            tools = [row["tool"] for row in results.rows(rows, size=size) if not row["tool"].startswith("rrn")]
            faster, slower, level = [], [], []
            for tool in tools:
                theirs = f"{base}{tool}].median_s"
                value = results.evaluate(f"{theirs} / {mine}")
                ours, other = (results.rows(rows, size=size, tool=name)[0] for name in ("rrn", tool))
                overlap = ours["low_s"] <= other["high_s"] and other["low_s"] <= ours["high_s"]
                if overlap or abs(value - 1) <= 0.05:
                    level.append(tool)
                elif value > 1:
                    slower.append(f"{tool} ({{{theirs} / {mine}|g2}})")
                else:
                    faster.append(f"{tool} ({{{mine} / {theirs}|g2}})")
            text = [f"At {size}, rrn needs {{{mine}|g3}} s in fp32"]
            if results.has(f"{base}rrn, bf16].median_s"):
                text[0] += f" and {{{base}rrn, bf16].median_s|g3}} s in bf16"
            if slower:
                text.append(f"in fp32 it is faster than {words(slower)}, in brackets by which factor")
            if level:
                text.append(
                    "not told apart from it, by their spread or within 5 %, "
                    f"{'is' if len(level) == 1 else 'are'} {words(level)}"
                )
            if faster:
                text.append(f"faster than rrn {'is' if len(faster) == 1 else 'are'} {words(faster)}")
            return "; ".join(text) + "."

        return said

    sizes = results.values(rows, "size") if results.has(rows) else []
    paper.paragraph(about, *(against(size) for size in sizes))
    paper.figure(
        "end_to_end",
        "Pictures a second from a folder to similar pairs. The lines are the sum of the best parts: the fastest "
        "decoder and the fastest network at hand, each alone on all cores.",
        charts,
        "Horizontal bars for each tool, one panel for each size of picture.",
    )
    paper.table(
        "end_to_end",
        "Wall time, peak memory and found pairs. Precision and recall are of pairs against the planted copies; every "
        "tool runs with its own defaults. A dash: not measured.",
        ["size", "tool", "seconds", "fastest", "slowest", "peak MiB", "precision", "recall"],
        lambda: [
            [
                row["size"],
                row["tool"],
                *(
                    f"{{{rows}[size={row['size']};tool={row['tool']}].{key}|{style}}}"
                    for key, style in (
                        ("median_s", "g3"),
                        ("low_s", "g3"),
                        ("high_s", "g3"),
                        ("peak_mib", "n"),
                        ("precision", "f3"),
                        ("recall", "f3"),
                    )
                ),
            ]
            for row in results.get(rows)
        ],
    )

    def reading() -> str:
        faster = {
            row["tool"]
            for size in sizes
            for row in results.rows(rows, size=size)
            if not row["tool"].startswith(("rrn", "OpenCV"))
            and row["high_s"] < results.get(f"{rows}[size={size};tool=rrn].low_s")
            and row["median_s"] < 0.95 * results.get(f"{rows}[size={size};tool=rrn].median_s")
        }
        text = (
            "The columns on the right belong to the comparison. The planted copies are mild, and the tools do not "
            "mean the same by similar: hashes find equal pictures and little else, features find more and put "
            "unrelated pictures together. "
        )
        if faster:
            recalls = [
                row["recall"] for row in results.get(rows) if row["tool"] in faster and row.get("recall") is not None
            ]
            mine = [row["recall"] for row in results.get(rows) if row["tool"] == "rrn" and row.get("recall")]
            if recalls and mine and max(recalls) < min(mine):
                text += (
                    f"The tools that are faster than rrn somewhere ({words(sorted(faster))}) all find fewer of the "
                    f"planted "
                    "pairs than it does at every size. "
                )
        return text

    def precision() -> str:
        mine = [row["precision"] for row in results.get(rows) if row["tool"] == "rrn"]
        if mine and max(mine) < 0.9:
            return (
                "rrn's precision here is low: with the present weights, pictures that have grain and colours in "
                "common pass the threshold. That is the weights' fault, not the search's ({sec:accuracy})."
            )
        return ""

    def notes() -> str:
        found = list(dict.fromkeys((row["tool"], row["note"]) for row in results.get(rows) if row.get("note")))
        return " ".join(f"About {tool}: {note}." for tool, note in found)

    paper.paragraph(
        reading,
        precision,
        notes,
        "On one picture the program takes {bench_start:rows[provider=cpu;precision=fp32].median_ms|g3} ms in "
        "fp32 from its start.",
    )


def _decode(paper: Writer, results: Results, charts: Charts) -> None:
    paper.heading(2, "decode", "Decoding")
    rows = "bench_decode:rows"

    def said() -> str:
        sizes = results.values(rows, "size")
        parts = []
        for size in sizes:
            base = f"{rows}[size={size};format=JPEG;reader="
            parts.append(
                f"{size}: {{{base}rrn].median_ms|g3}} ms, against {{{base}Pillow].median_ms|g3}} ms in Pillow and "
                f"{{{base}OpenCV].median_ms|g3}} ms in OpenCV"
            )
        return f"From a JPEG file to the network's input, on one thread: {'; '.join(parts)} ({{fig:decode}})."

    def fraction() -> str:
        size = results.values(rows, "size")[0]
        base = f"{rows}[size={size};format=JPEG;reader="
        return (
            f"Decoding at a fraction of the size makes {size} JPEGs "
            f"{{{base}rrn, whole].median_ms / {base}rrn].median_ms|g2}} times as fast; it moves the network's input "
            f"by {{{base}rrn].max_difference|g2}} at most (1 is about 58 of 255 levels), OpenCV's other filter by "
            f"{{{base}OpenCV].max_difference|g2}}. `--full-decode` switches it off."
        )

    paper.paragraph(said, fraction)
    paper.figure(
        "decode",
        "From a file to the network's input on one thread: read, decode, resize, normalise. Whiskers are the fastest "
        "and the slowest round.",
        charts,
        "Grouped bars by format for each reader, one panel for each size of picture.",
    )


def _network(paper: Writer, results: Results, charts: Charts) -> None:
    paper.heading(2, "network", "The network by provider and precision")
    row = "bench_network:rows[provider={};precision={};size=224;batch=8;threads=2].median_ms"

    def fp32() -> str:
        own, vino = row.format("cpu", "fp32"), row.format("openvino", "fp32")
        word = _compared(
            results, f"{own} / {vino}", "gains a little over", "loses against", "gains nothing over", within=0.05
        )
        return (
            f"At 224 pixels, in batches of 8 on two threads, an image takes {{{own}|g3}} ms in fp32 on ONNX Runtime's "
            f"own kernels. OpenVINO in fp32 {word} them ({{{vino}|g3}} ms)."
        )

    def others() -> str:
        own = row.format("cpu", "fp32")
        parts = [
            f"{precision} takes {{{row.format('openvino', precision)}|g3}} ms, "
            + _factor(results, own, row.format("openvino", precision))
            for precision in ("bf16", "int8", "fp16")
        ]
        return f"On OpenVINO {words(parts)} ({{fig:network}})."

    paper.paragraph(fp32, others)
    paper.figure(
        "network",
        "Milliseconds an image by provider and precision, in the largest batch and with all threads measured.",
        charts,
        "Bars for each provider and precision, one panel for each size of the input.",
    )
    precision = "network_precision:rows"
    paper.paragraph(
        "A faster precision changes results. {table:precision} compares, in a run of its own, the cosines of all "
        "{network_precision:rows[provider=openvino;precision=bf16].pairs|n} pairs of the UKBench photos with those of "
        "fp32.",
        lambda: _int8_verdict(results),
    )
    paper.table(
        "precision",
        "Cosines against fp32 of the same weights on ONNX Runtime's CPU provider, F1 at 0.75, and pairs that come to "
        "the other side of it.",
        ["weights", "provider", "precision", "mean difference", "largest", "F1", "pairs that change sides"],
        lambda: [
            [
                found["weights"],
                found["provider"],
                found["precision"],
                *(
                    f"{{{precision}[weights={found['weights']};provider={found['provider']};"
                    f"precision={found['precision']}].{key}|{style}}}"
                    for key, style in (
                        ("mean_difference", "e1"),
                        ("max_difference", "e1"),
                        ("f1", "f4"),
                        ("changed_sides", "n"),
                    )
                ),
            ]
            for found in results.get(precision)
        ],
    )


def _factor(results: Results, base: str, other: str) -> str:
    if results.evaluate(f"{base} / {other}") >= 1:
        return f"{{{base} / {other}|g2}} times as fast as fp32"
    return f"{{{other} / {base}|g2}} times as long as fp32"


def _precision_row(results: Results, precision: str) -> tuple[str, str]:
    """Paths of a precision's row and of the fp32 row of the same weights: those in use if they were measured."""
    used = results.get("training_runs:in_use")
    rows = results.rows("network_precision:rows", precision=precision)
    row = min(rows, key=lambda each: (each["weights"] != used, each["provider"] != "openvino"))
    path = f"network_precision:rows[weights={row['weights']};provider={{}};precision={{}}]"
    return path.format(row["provider"], precision), path.format("cpu", "fp32")


def _int8_moved(results: Results) -> str:
    int8, exact = _precision_row(results, "int8")
    return f"{int8}.f1 - {exact}.f1"


def _int8_verdict(results: Results) -> str:
    int8, exact = _precision_row(results, "int8")
    bf16, _ = _precision_row(results, "bf16")
    moved = results.evaluate(_int8_moved(results))
    direction = "up" if moved > 0 else "down"
    sign = f"{int8}.f1 - {exact}.f1" if moved > 0 else f"{exact}.f1 - {int8}.f1"

    def measured_with(path: str) -> str:
        row = results.get(path)
        where = "OpenVINO" if row["provider"] == "openvino" else "ONNX Runtime's CPU provider"
        earlier = row["weights"] != results.get("training_runs:in_use")
        return where + (f", with the earlier weights of the {row['weights']}" if earlier else "")

    text = (
        f"bf16 moves {{{bf16}.changed_sides|n}} pairs across the threshold ({measured_with(bf16)}), int8 "
        f"{{{int8}.changed_sides|n}}, and int8 moves F1 {direction} by {{{sign}|f3}} ({measured_with(int8)})"
    )
    if abs(moved) > 0.01:
        text += ", too much for a precision that should change nothing" + (
            "; up is not better here, it only says that similarities moved" if moved > 0 else ""
        )
    return text + "."


def _pairs(paper: Writer, results: Results, charts: Charts) -> None:
    paper.heading(2, "pairs", "All pairs")
    rows = "bench_pairs:rows"

    def said() -> str:
        most = _largest(results, rows, "rows")
        base = f"{rows}[rows={most};way="
        others = [row["way"] for row in results.rows(rows, rows=most) if row["way"] != "rrn"]
        listed = words(f"{_way(way)} takes {{{base}{way}].median_s|g3}} s" for way in others)
        return (
            f"{{{base}rrn].rows|n}} random embeddings with {{{base}rrn].pairs|n}} planted pairs take "
            f"{{{base}rrn].median_s|g3}} s on all cores; {listed} ({{fig:pairs}}, left; faiss {{cite:faiss}} searches "
            "both directions, usearch looks for 16 neighbours)."
        )

    def paths() -> str:
        listed = results.values("bench_pairs:paths", "path")
        most = max(row["rows"] for row in results.get("bench_pairs:paths") if row["path"] == "float32")
        threads = _largest(results, "bench_pairs:paths", "threads")
        base = f"bench_pairs:paths[rows={most};threads={threads};path="
        fastest = min(
            (path for path in listed if results.has(f"{base}{path}].median_seconds")),
            key=lambda path: results.get(f"{base}{path}].median_seconds"),
        )
        return (
            f"The filter is what makes the difference: at {{{base}float32].rows|n}} embeddings `{fastest}` is "
            f"{{{base}float32].median_seconds / {base}{fastest}].median_seconds|g2}} times as fast as computing every "
            "product in float32, and all paths return the same bytes ({fig:pairs}, right)."
        )

    paper.paragraph(
        said,
        paths,
        "Random embeddings are the filter's best case; the more pairs come near the threshold, the more it has to "
        "compute exactly.",
    )
    paper.figure(
        "pairs",
        "Seconds for all similar pairs: libraries (left), and the instruction sets that rrn's filter can use (right).",
        charts,
        "Two panels of lines over the number of embeddings, both axes logarithmic.",
    )


def _growth(paper: Writer, results: Results, charts: Charts) -> None:
    paper.heading(2, "growth", "Growth of time and memory")

    def memory() -> str:
        counts = [row["count"] for row in results.rows("bench_growth:rows", what="search")]
        small = f"bench_growth:rows[what=search;count={min(counts)}]"
        large = f"bench_growth:rows[what=search;count={max(counts)}]"
        return (
            f"From {{{small}.count|n}} to {{{large}.count|n}} embeddings the search's time grows from "
            f"{{{small}.median_s|g2}} s to {{{large}.median_s|g3}} s. Peak memory at the end is "
            f"{{{large}.peak_mib|n}} MiB: the caller's embeddings, {{{large}.input_mib|n}} MiB, a copy of them that "
            "the Python function scales to length 1, the filter's bytes, a quarter of that ({sec:search}), and Python "
            "itself; a matrix of all "
            "similarities would take the square of their number ({fig:growth})."
        )

    def program() -> str:
        counts = [row["count"] for row in results.rows("bench_growth:rows", what="program")]
        small = f"bench_growth:rows[what=program;count={min(counts)}]"
        large = f"bench_growth:rows[what=program;count={max(counts)}]"
        return (
            f"The whole program on small pictures goes from {{{small}.peak_mib|n}} MiB at {{{small}.count|n}} to "
            f"{{{large}.peak_mib|n}} MiB at {{{large}.count|n}} pictures."
        )

    paper.paragraph(memory, program)
    paper.figure(
        "growth",
        "Time and peak memory of the search on random embeddings, and of the whole program on small pictures. Peak "
        "memory includes Python for the search and ONNX Runtime for the program.",
        charts,
        "Two panels of lines, both axes logarithmic.",
    )


def _operator(paper: Writer, results: Results, charts: Charts) -> None:
    paper.heading(2, "bandwidth", "The operator against the memory's bandwidth")

    def said() -> str:
        batch = _largest(results, "bench_operator:rows", "batch")
        base = f"bench_operator:rows[batch={batch};way="
        mine, numpy = f"{base}rrn;type=float32]", f"{base}NumPy;type=float32]"
        word = _compared(results, f"{mine}.gb_per_s / {numpy}.gb_per_s", "NumPy less", "NumPy more", "NumPy as much")
        return (
            f"The operator does one addition for each number that it reads, so memory is its limit. With the feature "
            f"maps of {{{mine}.batch|n}} pictures ({{{mine}.megabytes|n}} MB) the float32 kernel reads "
            f"{{{mine}.gb_per_s|g3}} GB/s, {{{mine}.share_of_bandwidth|p0}} of the fastest reading of as many bytes "
            f"in the same rounds; {word} ({{{numpy}.share_of_bandwidth|p0}}, {{fig:operator}})."
        )

    def halves() -> str:
        base = f"bench_operator:rows[batch={_largest(results, 'bench_operator:rows', 'batch')};way=rrn;type="
        full = f"{base}float32].median_ms"
        return (
            "The same maps in 16 bits are half the bytes. They take "
            f"{{{base}float16].median_ms / {full}|p0}} of the float32 kernel's time in float16 and "
            f"{{{base}bfloat16].median_ms / {full}|p0}} in bfloat16. Sums are float32, in one fixed order, whatever "
            "the instruction set."
        )

    paper.paragraph(said, halves)
    paper.figure(
        "operator",
        "Input that is pooled, repeated and averaged per second on one thread. The dashed lines are the fastest "
        "reading of as many bytes; small batches are read from a cache.",
        charts,
        "Grouped bars for each batch with a dashed line above each group.",
        0.9,
    )


def _numerics(paper: Writer, results: Results) -> None:
    paper.heading(2, "numerics", "Numerics of the four implementations")

    def said() -> str:
        rows = results.get("validation:comparisons")
        bad = [row["what"] for row in rows if row["verdict"] not in ("", "ok")]
        verdict = (
            "Every comparison stays within its limit." if not bad else f"These are over their limit: {words(bad)}."
        )
        return (
            "`python -m rrn_native.validate` takes {validation:images|n} photos through PyTorch with the operator, "
            "through PyTorch with plain operations, through ONNX Runtime with the operator as a function and with "
            f"`libreduction_op.so`, and through the C++ engine. {verdict} {{table:numerics}} gives the largest "
            f"absolute "
            "differences; decoding and preprocessing are compared, too."
        )

    paper.paragraph(said)
    paper.table(
        "numerics",
        "Largest absolute difference to the first implementation (PyTorch with the operator; Pillow for decoding). A "
        "dash: no limit is set.",
        ["what", "largest difference", "limit", "verdict"],
        lambda: [
            [
                row["what"],
                f"{{validation:comparisons[what={row['what']}].max_abs|e1}}",
                f"{{validation:comparisons[what={row['what']}].limit|e1}}",
                row["verdict"] or "–",
            ]
            for row in results.get("validation:comparisons")
        ],
    )


def _what_did_not_work(paper: Writer, results: Results, charts: Charts) -> None:
    del charts
    paper.heading(1, "failures", "What did not work")
    network = "bench_network:rows[provider={};precision={};size=224;batch=8;threads=2].median_ms"

    def training() -> str:
        run = f"training_runs:rows[weights={results.get('training_runs:in_use')};side=224]"
        before, after = (f"training_runs:gap.rows[weights={run}]" for run in ("fourth run", "sixth run"))
        fourth, seventh, eighth, ninth, tenth = (
            f"training_runs:rows[weights={each} run;side=224]"
            for each in ("fourth", "seventh", "eighth", "ninth", "tenth")
        )
        false = "training_runs:false_pairs_of_copies"
        anew = "training_runs:statistics_at_224.rows[weights=seventh run;statistics=anew]"

        def copies(run: str) -> str:
            return f"training_runs:copies_of_photos.rows[weights={run} run;statistics=trained]"

        mine = f"{_ours(results)}.groups.at_threshold.f1"
        base = "evaluation:rows[name=bootstrap].groups.at_threshold.f1"
        verdict = _compared(
            results, f"{mine} / {base}", "above that of the weights", "below that of the weights", "about the weights'"
        )
        return (
            f"Training from random weights was done on CPU cores only. The weights in use saw {{{run}.crops|n}} crops; "
            f"their F1 at 0.75 is {{{mine}|f2}} on UKBench, {verdict} that rrn came with first (bootstrap, "
            f"{{{base}|f2}}; {{table:training}}). The first four runs learnt in part by heart: a "
            "linear map from the last stage to the teacher's features, fitted on training photos, agrees with the "
            f"teacher at a mean cosine of {{{before}.teacher_cosine_training|f2}} on other crops of these photos and "
            f"{{{before}.teacher_cosine_held_out|f2}} on photos held out. A sixth run, on "
            "{training_runs:varied_pictures.training|n} photos and drawings and on mixtures of them, "
            f"brought this to {{{after}.teacher_cosine_training|f2}} and {{{after}.teacher_cosine_held_out|f2}}: less "
            "memory, but nothing gained on photos held out, so it was left out. What helped was to predict the "
            "teacher's maps place by place as well {cite:fitnets}. The seventh run, again from the fourth's weights, "
            f"took average precision on UKBench from {{{fourth}.average_precision|f3}} to "
            f"{{{seventh}.average_precision|f3}} and F1 at 0.75 from {{{fourth}.f1|f2}} to {{{seventh}.f1|f2}} with "
            f"{{{seventh}.crops - {fourth}.crops|n}} more crops. The eighth went on from there, with larger crops: "
            "better on held-out pictures, half of them from sources of drawings, but on UKBench "
            f"{{{eighth}.average_precision|f3}} and {{{eighth}.f1|f2}}. On copies of photos, though, both put more "
            f"unrelated photos above 0.75 than the fourth: precision {{{copies('seventh')}.precision|f2}} and "
            f"{{{copies('eighth')}.precision|f2}} instead of {{{copies('fourth')}.precision|f2}}, so neither is in "
            "use. Measuring the batch normalisations anew at the size of use orders the cosines better and moves their "
            f"scale: with the seventh run's weights average precision {{{anew}.average_precision|f3}}, but the best F1 "
            f"at {{{anew}.best_f1_at|f2}} instead of {{{seventh}.best_f1_at|f2}}. Two further "
            "short runs from the eighth's weights, one on photographs alone and one with half of the crops from "
            f"photographs and lowered targets, ended at {{{ninth}.average_precision|f3}} and "
            f"{{{tenth}.average_precision|f3}} on UKBench. Which unrelated photos come too near was looked at with the "
            f"eighth run's weights and new statistics: {{{false}.of_those|n}} of {{{false}.pairs|n}} false pairs "
            f"belong to {{{false}.pairs_of_originals_above|n}} pairs of COCO photos that are above 0.75 without being "
            f"copied. In {{{false}.people_in_both_of_pairs_of_originals|n}} of them both photos show people, in "
            f"{{{false}.photos_with_people_in_both_expected|p0}} of all pairs; the training's photographs hardly show "
            "any (`research/training/README.md`)."
        )

    def vino() -> str:
        own, other = network.format("cpu", "fp32"), network.format("openvino", "fp32")
        value = results.evaluate(f"{own} / {other}")
        verdict = "gains nothing" if value < 1.05 else "gains something"
        return (
            f"*OpenVINO in fp32* {verdict}: {{{other}|g3}} ms an image instead of {{{own}|g3}} ms. So `auto` takes it "
            "for bf16 and int8 alone."
        )

    def emulated() -> str:
        own, half = network.format("cpu", "fp32"), network.format("openvino", "fp16")
        if results.evaluate(f"{half} / {own}") <= 1:
            return f"*The network in fp16* takes {{{half}|g3}} ms, {{{own}|g3}} ms in fp32."
        return (
            f"*The network in fp16* takes {{{half} / {own}|g2}} times as long as in fp32; "
            "presumably it is emulated (why was not measured)."
        )

    def eight_bits() -> str:
        row, _ = _precision_row(results, "int8")
        if results.get(f"{row}.mean_difference") < 0.01 and abs(results.evaluate(_int8_moved(results))) < 0.005:
            return ""
        return f"*int8.* {_int8_verdict(results)} {{sec:network}} has the table."

    def pairs_of_weights() -> str:
        base = "evaluation:rows[name=EfficientNet-Lite0, whitened].groups.at_threshold.f1"
        ours = f"{_ours(results)}.groups.at_threshold.f1"
        if results.evaluate(f"{base} - {ours}") <= 0:
            return ""
        return (
            f"*Reaching the teacher.* The cosines are trained towards those of the whitened teacher. Its F1 is "
            f"{{{base}|f2}} on UKBench; the present weights are {{{base} - {ours}|f2}} below that."
        )

    def best_parts() -> str:
        size = results.values("bench_end_to_end:rows", "size")[0]
        share = f"bench_end_to_end:ratios[size={size};of=rrn].best parts"
        # The ratio is the best parts' time over the program's.
        if results.get(share) > 0.95:
            return ""
        return (
            f"*Reaching the sum of the parts.* At {size} the program runs at {{{share}|p0}} of the speed that the "
            f"fastest "
            "decoder and the fastest network would reach together; what costs the rest was not measured."
        )

    paper.bullets(
        ["*Training without a GPU.*", training],
        eight_bits,
        vino,
        emulated,
        pairs_of_weights,
        best_parts,
    )
    paper.table(
        "training",
        "Training runs on CPU cores, from the third on each from the weights of the one before, but the sixth and "
        "the seventh from those of the fourth and the tenth from those of the eighth, with the crops of all; "
        "the tenth has new statistics; "
        "measured apart from {table:ukbench}, so its rows need not equal that table's; UKBench, raw embedding, "
        "precision, recall and F1 at 0.75. `research/training/README.md` says which run's weights are in use, and why; "
        "the bootstrap weights came first, and were trained on other photos.",
        ["weights", "crops", "pixels", "N-S", "average precision", "precision", "recall", "F1", "unrelated above"],
        lambda: [
            [
                row["weights"],
                *(
                    f"{{training_runs:rows[weights={row['weights']};side={row['side']}].{key}|{style}}}"
                    for key, style in (
                        ("crops", "n"),
                        ("side", "n"),
                        ("ns", "f2"),
                        ("average_precision", "f3"),
                        ("precision", "f2"),
                        ("recall", "f2"),
                        ("f1", "f2"),
                        ("unrelated_above", "p1"),
                    )
                ),
            ]
            for row in results.get("training_runs:rows")
        ],
    )


def _limits(paper: Writer, results: Results, charts: Charts) -> None:
    del charts
    paper.heading(1, "limits", "Limits")

    def missing() -> str:
        absent = results.get("evaluation:missing")
        if not absent:
            return "No row of the evaluation is missing."
        return f"Missing from the evaluation: {words(absent, 'and')}."

    def weak() -> str:
        base = f"{_ours(results)}.copies.transforms"
        found = results.get(base)
        weak = sorted(name for name in found if found[name]["recall_at_threshold"] < 0.6)
        if not weak:
            return "No transform of the evaluation loses more than 40 % of its copies."
        return f"Less than 60 % of the copies are found after {words(weak)}."

    paper.bullets(
        ["*Accuracy.*", weak, missing],
        lambda: _gpu(results),
        lambda: (
            "*One machine.* All speeds were taken on one virtual machine with {bench_end_to_end:machine.cores|n} "
            "cores; the load before the end-to-end measurement was {bench_end_to_end:machine.load_before|f2}, so "
            "the machine was not always idle. Differences of a few per cent mean nothing."
        ),
        "*NEON* has been run under emulation only; no time on ARM was taken.",
        "*The pictures of the benchmarks* were scaled and given grain, the planted copies are few and mild, and peers "
        "run with their defaults: recall there says what one gets out of the box, not what a tool can do.",
        "*One threshold.* 0.75 fits the embedding only as far as training gave the cosine its scale; `python -m "
        "rrn_native.calibrate` finds the right one for labelled images of one's own.",
        "*Random embeddings* make the pair search look its best.",
    )


def _gpu(results: Results) -> str:
    here = [path for path in results.folder.glob("*.json") if re.search("cuda|gpu|h100|h200", path.stem)]
    # scripts/gpu_check.sh writes one file for each device.
    measured = sorted(
        path.relative_to(results.folder).as_posix() for path in (*here, *results.folder.glob("gpu/*.json"))
    )
    if measured:
        listed = words(f"`{name}`" for name in measured)
        return (
            f"*GPUs.* What was measured on a GPU stands in {listed} and is not discussed here; all numbers above are "
            "those of a CPU."
        )
    return (
        "*No result here comes from a GPU.* The CUDA kernel and the PyTorch operator's CUDA path compile and have "
        "tests that run where a GPU is; the kernel's registration with ONNX Runtime's CUDA provider compiles and has "
        "none. The `cuda` and `tensorrt` providers are written to ONNX Runtime's documentation."
    )


_RESULTS = (
    ("example", "`scripts/report.sh --measure-examples`"),
    ("evaluation", "`scripts/evaluate.sh`"),
    ("validation", "`python -m rrn_native.validate --json`"),
    ("bench_end_to_end", "`scripts/bench.sh --part end_to_end`"),
    ("bench_start", "`scripts/bench.sh --part start`"),
    ("bench_decode", "`scripts/bench.sh --part decode`"),
    ("bench_network", "`scripts/bench.sh --part network`"),
    ("network_precision", "`python -m research.network.measure --photos`"),
    ("bench_pairs", "`scripts/bench.sh --part pairs`"),
    ("bench_growth", "`scripts/bench.sh --part growth`"),
    ("bench_operator", "`scripts/bench.sh --part operator`"),
    ("training_runs", "copied from `research/training/README.md`"),
)


def _reproduction(paper: Writer, results: Results, charts: Charts) -> None:
    del charts
    paper.heading(1, "reproduction", "Reproduction")
    paper.paragraph(
        "`scripts/run.sh` sets everything up on a bare Debian or Ubuntu, builds and runs the program; "
        "`scripts/test.sh` runs all tests. {table:reproduction} names the command and the commit of every result. "
        "`scripts/report.sh` makes this report and its figures from the JSON files in `findings/results`, and from "
        "nothing else: the same files give the same bytes. Ratios that are named in the text and stand in no result "
        "file are kept with their formulas in `findings/results/derived.json`.",
    )
    paper.table(
        "reproduction",
        "Results, the commands that make them, and the commits they were made at; -dirty means that the tree had "
        "changes that were not committed.",
        ["result", "command", "commit"],
        lambda: [
            [f"`{name}.json`", command, f"{{{name}:commit|t}}"]
            for name, command in _RESULTS
            if results.has(f"{name}:rows") or results.has(f"{name}:commit")
        ],
    )
