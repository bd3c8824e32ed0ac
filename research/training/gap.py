"""How much of the teacher the student knows on photos that it was trained on, and on others.

    python -m research.training.gap --data .cache/training --weights .cache/run/weights.pth --json gap.json

A linear map from the student's last stage to the teacher's whitened features is fitted (ridge regression) on crops of
training photos, and then asked about other crops of training photos and about crops of held-out photos. The same for
the raw embedding, without labels: do crops of one photo have higher cosines than crops of different ones? Where the
held-out photos come out much worse, the student has memorised its photos, and more photos will help it more than more
training. Crops are clean; nothing is trained.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from rrn_native.analysis import metrics

from research.common import machine, results
from research.training import losses, overlays
from research.training.augment import Augmenter
from research.training.bank import PhotoBank, load_bank
from research.training.config import Config, load_config
from research.training.student import Student, load_student
from research.training.teacher import Teacher, load_teacher
from research.training.trainer import Normaliser

MODULE = "python -m research.training.gap"
CPU = torch.device("cpu")


@dataclass
class Seen:
    """What both networks make of some crops.

    Attributes:
        embedding: The student's, [N, 512].
        last: Its last stage's averages, [N, 512].
        features: The teacher's, [N, D].
        photo: int64 [N], equal for crops of the same photo.
    """

    embedding: torch.Tensor
    last: torch.Tensor
    features: torch.Tensor
    photo: torch.Tensor


def pairs_precision(vectors: torch.Tensor, photo: torch.Tensor) -> float:
    """Average precision over all pairs of crops, those of one photo being relevant, by the vectors' cosines."""
    first, second, same = metrics.pairs_of_groups(photo.tolist())
    cosines = F.normalize(vectors, dim=1) @ F.normalize(vectors, dim=1).T
    return metrics.average_precision(cosines.numpy()[first, second], same)


@torch.inference_mode()
def look(
    bank: PhotoBank, count: int, seed: int, config: Config, students: list[Student], teacher: Teacher
) -> list[Seen]:
    """Shows the same `count` clean crops to the teacher and to every student."""
    patches = overlays.render(8, seed, CPU)
    augmenter = Augmenter(bank, patches, config["data"], config["distort"], seed)
    normalised = Normaliser(config, CPU)
    side = max(config["data"]["student_sizes"])
    features: list[torch.Tensor] = []
    photos: list[torch.Tensor] = []
    answers: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in students]
    while sum(map(len, photos)) < count:
        batch = augmenter.batch(len(photos), side)
        shown = augmenter.render(batch.crops, config["data"]["teacher_size"])
        features.append(teacher(normalised(shown, "teacher")))
        photos.append(batch.photo)
        shown = normalised(augmenter.render(batch.crops, side), "student")
        for student, own in zip(students, answers, strict=True):
            embedding, last, _ = student(shown)
            own.append((embedding, last))
    teachers, photo = torch.cat(features), torch.cat(photos)
    seen = []
    for own in answers:
        embedding, last = (torch.cat(values) for values in zip(*own, strict=True))
        seen.append(Seen(embedding, last, teachers, photo))
    return seen


def measure(fitted: Seen, others: dict[str, Seen], config: Config) -> dict[str, dict[str, float]]:
    """For each of `others`: teacher_cosine, and average_precision of the raw embedding and of the teacher."""
    whitening = losses.Whitening.fit(fitted.features, config["teacher"]["components"])
    mean, linear = losses.ridge(fitted.last, whitening(fitted.features))
    result = {}
    for name, crops in others.items():
        whitened = whitening(crops.features)
        cosine = F.cosine_similarity((crops.last - mean) @ linear, whitened, dim=1).mean().item()
        result[name] = {
            "teacher_cosine": cosine,
            "average_precision": pairs_precision(crops.embedding, crops.photo),
            "teacher_average_precision": pairs_precision(
                whitened[:, : config["teacher"]["relation_components"]], crops.photo
            ),
        }
    return result


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=MODULE, description="Measure how much better the student knows its training photos."
    )
    parser.add_argument("--data", type=Path, default=Path(".cache/training"), metavar="FOLDER", help="from prepare.py")
    parser.add_argument("--weights", type=Path, required=True, nargs="+", metavar="FILE.pth")
    parser.add_argument("--teacher", default="lite0", help="as for train.py")
    parser.add_argument("--fit", type=int, default=6400, help="crops to fit the linear map on (default %(default)s)")
    parser.add_argument("--crops", type=int, default=1280, help="crops to measure on (default %(default)s)")
    parser.add_argument("--set", action="append", metavar="SECTION.NAME=VALUE", help="change the configuration")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    changes = ["data.groups=0", "data.mix_share=0.0", *(arguments.set or [])]
    rows = []
    try:
        config = load_config(cuda=False, changes=changes)
        teacher = load_teacher(arguments.teacher, CPU)
        students = [load_student(each).eval() for each in arguments.weights]

        def seen(split: str, count: int, seed: int) -> list[Seen]:
            weight = config["data"]["photograph_weight"] if split == "train" else 1.0
            bank = load_bank(arguments.data, split, CPU, photograph_weight=weight)
            return look(bank, count, seed, config, students, teacher)

        # Other seeds are other crops.
        fitted = seen("train", arguments.fit, 77)
        own, other = (seen(split, arguments.crops, 78) for split in ("train", "held_out"))
        for index, weights in enumerate(arguments.weights):
            others = {"training photos": own[index], "held-out photos": other[index]}
            row = measure(fitted[index], others, config)
            rows.append({"weights_sha256": results.sha256(weights), **row})
            print(weights)
            for name, values in row.items():
                print(f"  {name}: " + ", ".join(f"{key} {value:.3f}" for key, value in values.items()), flush=True)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        command = machine.command_line(MODULE, sys.argv[1:] if argv is None else argv)
        data = results.sha256(arguments.data / "index.json")
        head = {**machine.head(command), "data_sha256": data, "fitted_on": arguments.fit, "crops": arguments.crops}
        results.write(arguments.json, {**head, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
