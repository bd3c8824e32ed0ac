"""The steps of a training on drawn pictures: no photos, no network, no teacher's package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from research.training import losses, student, teacher
from research.training.student import Student
from research.training.tiny import (
    CPU,
    grids,
    remembering_config,
    small_bank,
    small_config,
    small_teacher,
    small_trainer,
)
from research.training.trainer import TERMS, Trainer


def test_the_student_can_learn_one_batch() -> None:
    trainer = small_trainer()
    terms = []
    for _ in range(5):
        trainer.step_number = 0
        terms.append(trainer.step(0.1))
    assert all(values.isfinite().all() for values in terms)
    assert terms[-1][0] < 0.8 * terms[0][0]
    assert trainer.crops == 60
    validation = trainer.validate()
    assert 0 <= validation["copy_recall_at_1"] <= 1
    assert trainer.validator is not None and trainer.whitening is not None
    terms = []
    with torch.inference_mode():
        for step in range(2):
            batch = trainer.validator.batch(step, 64)
            assert (batch.other == -1).all()
            seen = trainer.normalised(trainer.validator.render(batch.crops, 32), "teacher")
            last = trainer.ema(trainer.normalised(batch.distorted, "student"))[1]
            terms.append(losses.regression(trainer.head(last), trainer.whitening(small_teacher(seen))))
    assert validation["regression"] == pytest.approx(float(sum(terms)) / 2, abs=0.02)


def test_training_begins_with_heads_that_fit() -> None:
    config = small_config()
    config["data"]["student_sizes"] = [64]
    config["teacher"]["head_crops"] = 12
    trainer = small_trainer(config)
    explained = trainer.fit_heads()
    assert len(explained) == 3
    # The one batch that they were fitted on.
    batch = trainer.augmenter.batch(-1, 64)
    dense, regression = TERMS.index("dense"), TERMS.index("regression")

    def terms() -> Any:
        return trainer.loss(batch, trainer._teach(batch), trainer._maps(batch)).detach()

    fitted = terms()
    assert fitted[dense] == pytest.approx(1 - sum(explained) / 3, abs=1e-3)
    trainer.head.reset_parameters()
    for adapter in trainer.adapters:
        adapter.reset_parameters()  # type: ignore[operator]
    assert terms()[dense] > 1.2 * fitted[dense]
    assert terms()[regression] > 2 * fitted[regression]


def test_the_regressions_at_the_start_can_be_left_out() -> None:
    config = small_config()
    config["teacher"]["head_crops"] = 0
    trainer = Trainer(config, small_bank(), small_bank(8, 1), small_teacher, CPU)
    trainer.fit_whitening()
    before = trainer.head.weight.detach().clone()
    assert trainer.fit_heads() == []
    assert torch.equal(trainer.head.weight, before)
    assert trainer.step(0.5).isfinite().all()


def test_training_starts_from_the_weights_of_a_file(tmp_path: Path) -> None:
    state = student.Student().state_dict()
    path = tmp_path / "weights.pth"
    torch.save({**state, "fc.weight": torch.zeros(1000, 512)}, path)
    trainer = Trainer(small_config(), small_bank(), small_bank(8, 1), small_teacher, CPU, student.load_student(path))
    for network in (trainer.student, trainer.ema):
        assert all(torch.equal(network.state_dict()[name], value) for name, value in state.items())


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    state = student.Student().state_dict()
    path = tmp_path / "weights.pth"
    torch.save({name: value for name, value in state.items() if name != "layer3.0.conv1.weight"}, path)
    with pytest.raises(ValueError, match=r"weights\.pth lacks layer3\.0\.conv1\.weight"):
        student.load_student(path)
    torch.save({**state, "conv1.weight": torch.zeros(8, 3, 7, 7)}, path)
    with pytest.raises(ValueError, match=r"conv1\.weight has shape \(8, 3, 7, 7\): expected \(64, 3, 7, 7\)"):
        student.load_student(path)


def test_teachers_without_maps_serve_the_other_terms() -> None:
    plain = teacher.Teacher(lambda images, maps: grids(images, False))
    config = small_config()
    with pytest.raises(ValueError, match=r"0 maps.*loss\.dense=0"):
        Trainer(config, small_bank(), None, plain, CPU)
    config["loss"]["dense"] = 0.0
    config["data"]["student_sizes"] = [40]
    trainer = Trainer(config, small_bank(), None, plain, CPU)
    trainer.fit_whitening()
    assert trainer.fit_heads() == []
    terms = trainer.step(0.1)
    assert terms.isfinite().all() and terms[TERMS.index("dense")] == 0


def test_maps_must_lie_on_the_students() -> None:
    finer = teacher.Teacher(lambda images, maps: [*grids(images, maps)[:-1], images])
    with pytest.raises(ValueError, match=r"\(32, 32\)\]: expected .*\(1, 1\)\]"):
        Trainer(small_config(), small_bank(), None, finer, CPU)


def test_a_checkpoint_of_another_teacher_is_refused(tmp_path: Path) -> None:
    small_trainer().save(tmp_path / "checkpoint.pt")
    wider = teacher.Teacher(lambda images, maps: [torch.cat([each, each], 1) for each in grids(images, maps)])
    with pytest.raises(ValueError, match="another teacher"):
        Trainer(small_config(), small_bank(), None, wider, CPU).restore(tmp_path / "checkpoint.pt")


def test_maps_need_sizes_that_all_networks_halve_alike() -> None:
    config = small_config()
    config["data"]["student_sizes"] = [64, 80]
    with pytest.raises(ValueError, match="multiples of 32"):
        small_trainer(config)


def test_every_group_is_seen_once_a_round() -> None:
    trainer = small_trainer(remembering_config())
    for first in (0, 4):
        seen = [group for step in range(first, first + 4) for group in trainer.groups(step) or []]
        assert sorted(seen) == list(range(8))
    assert [trainer.groups(step) for step in range(4)] != [trainer.groups(step) for step in range(4, 8)]


def test_the_teacher_is_asked_once_for_crops_that_come_again() -> None:
    trainer = small_trainer(remembering_config())
    asked = []

    def run(images: Any, maps: bool) -> list[Any]:
        if not maps:
            asked.append(len(images))
        return grids(images, maps)

    trainer.teacher = teacher.Teacher(run)
    for _ in range(9):
        trainer.step(0.1)
    assert asked == [64] * 4
    batch = trainer.augmenter.batch(0, 32, trainer.groups(9))
    remembered = trainer._features(batch, trainer.groups(9))
    assert asked == [64] * 4
    assert torch.allclose(remembered, trainer._teach(batch), atol=1e-3)


@pytest.mark.parametrize("remembering", [True, False])
def test_resuming_gives_the_same_next_step(tmp_path: Path, remembering: bool) -> None:
    config = remembering_config() if remembering else small_config()
    whole = small_trainer(config)
    for _ in range(2):
        whole.step(0.3)
    whole.save(tmp_path / "checkpoint.pt")
    expected = whole.step(0.4)
    resumed = Trainer(config, small_bank(), None, small_teacher, CPU)
    resumed.restore(tmp_path / "checkpoint.pt")
    assert torch.equal(resumed.step(0.4), expected)
    for one, two in zip(whole.weights().values(), resumed.weights().values(), strict=True):
        assert torch.equal(one, two)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    trainer = small_trainer()
    trainer.step(0.1)
    trainer.save(tmp_path / "checkpoint.pt")
    changed = small_config()
    changed["loss"]["koleo"] = 0.7
    with pytest.raises(ValueError, match="another configuration"):
        Trainer(changed, small_bank(), None, small_teacher, CPU).restore(tmp_path / "checkpoint.pt")


def test_finished_weights_have_the_statistics_of_the_size_of_use() -> None:
    config = small_config()
    config["run"].update(statistics_crops=24, statistics_size=96)
    trainer = small_trainer(config)
    trainer.step(0.5)
    before = {name: value.clone() for name, value in trainer.ema.state_dict().items()}
    weights = trainer.weights()
    assert all(torch.equal(value, before[name]) for name, value in trainer.ema.state_dict().items())
    statistics = {name for name in weights if name.rpartition(".")[2] in ("running_mean", "running_var")}
    assert len(statistics) == 40
    for name, value in weights.items():
        assert torch.equal(value, before[name].half()) == (name not in statistics), name
    # Two batches: one of clean crops, one of distorted ones.
    clean = trainer.augmenter.render(trainer.augmenter.batch(-1, 96).crops, 96)
    shown = trainer.normalised(torch.cat([clean, trainer.augmenter.batch(-2, 96).distorted]), "student")
    with torch.inference_mode():
        mean = trainer.ema.conv1(shown).mean((0, 2, 3))
    assert torch.allclose(weights["bn1.running_mean"].float(), mean, atol=2e-3)
    trainer.config["run"]["statistics_crops"] = 0
    assert all(torch.equal(value, before[name].half()) for name, value in trainer.weights().items())


def test_weights_fit_the_shipped_network() -> None:
    model = pytest.importorskip("rrn_native.model.network")
    trained = student.Student().eval()
    trainer = small_trainer()
    trainer.ema.load_state_dict(trained.state_dict())
    weights = trainer.weights()
    try:
        shipped = model.ReductionResNet18.from_state_dict(weights).eval()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    trained.load_state_dict({**trained.state_dict(), **{name: value.float() for name, value in weights.items()}})
    images = torch.rand(2, 3, 64, 48)
    with torch.inference_mode():
        assert torch.allclose(shipped(images), trained(images)[0], rtol=1e-3, atol=1e-4)


def test_the_lower_layers_are_trained_in_some_steps_only() -> None:
    config = small_config()
    config["optimiser"].update(lower_every=2, weight_decay=0.0)
    trainer = small_trainer(config)

    def parameters() -> list[Any]:
        network = trainer.student
        return [part.conv1.weight.detach().clone() for part in (network, network.layer2[0], network.layer3[0])]

    for step in range(4):
        before = parameters()
        trainer.step(0.0)
        moved = [not torch.equal(old, new) for old, new in zip(before, parameters(), strict=True)]
        assert moved == ([True, True, True] if step % 2 == 0 else [False, False, True])


def test_the_lower_layers_see_every_size() -> None:
    config = small_config()
    config["data"].update(student_sizes=[32, 64, 96])
    config["optimiser"].update(lower_every=3)
    trainer = small_trainer(config)
    assert {trainer.student_size(step) for step in range(0, 18, 3)} == {32, 64, 96}


def anchored_trainer(**optimiser: Any) -> Trainer:
    config = remembering_config()
    config["loss"].update(
        relation=0.0, pair=0.0, regression=0.0, dense=0.0, contrast=0.0, koleo=0.0, anchor=1.0, hold=5.0, anchor_size=64
    )
    config["optimiser"].update(freeze_statistics=True, **optimiser)
    torch.manual_seed(2)
    trainer = Trainer(config, small_bank(), None, small_teacher, CPU, Student())
    trainer.fit_whitening()
    return trainer


def test_an_anchored_training_brings_copies_nearer_and_keeps_the_statistics() -> None:
    trainer = anchored_trainer(learning_rate=1e-4)
    statistics = {n: v.clone() for n, v in trainer.student.state_dict().items() if "running" in n}
    terms = []
    for _ in range(4):
        trainer.step_number = 0
        terms.append(trainer.step(0.1))
    anchor, hold = TERMS.index("anchor"), TERMS.index("hold")
    assert terms[0][0] == pytest.approx(float(terms[0][anchor] + 5 * terms[0][hold]), rel=1e-5)
    assert terms[-1][anchor] < terms[0][anchor]
    assert all(torch.equal(value, trainer.student.state_dict()[name]) for name, value in statistics.items())


def test_the_anchor_stays_where_the_training_began(tmp_path: Path) -> None:
    trainer = anchored_trainer()
    assert trainer.anchor is not None
    first = {name: value.clone() for name, value in trainer.anchor.network.state_dict().items()}
    trainer.step(0.1)
    trainer.save(tmp_path / "checkpoint.pt")
    torch.manual_seed(9)
    again = Trainer(trainer.config, small_bank(), None, small_teacher, CPU, Student())
    again.restore(tmp_path / "checkpoint.pt")
    assert again.anchor is not None
    for name, value in again.anchor.network.state_dict().items():
        assert torch.equal(value, first[name]), name


def test_an_anchor_needs_first_weights() -> None:
    config = small_config()
    config["loss"]["hold"] = 1.0
    with pytest.raises(ValueError, match="say which"):
        Trainer(config, small_bank(), None, small_teacher, CPU)
