"""The projection: against OpenCV, against exact fractions, and by the laws that it has to follow."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from research.tensor_mechanics.camera import project_camera  # noqa: E402

Scene = tuple[Any, Any, Any, Any]


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False)


VECTORS = st.tuples(*[numbers(-3, 3)] * 3)


@st.composite
def scenes(draw: st.DrawFn, *, behind: bool = False, skew: bool = False, vector: Any = None) -> Scene:
    """Points in front of a camera (or some behind it), R by the exponential of a skew-symmetric matrix, T and K."""
    x, y, z = draw(VECTORS) if vector is None else vector
    rotation = torch.linalg.matrix_exp(torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64))
    translation = torch.tensor([[draw(numbers(-5, 5))] for _ in range(3)], dtype=torch.float64)
    intrinsics = torch.eye(3, dtype=torch.float64)
    intrinsics[0, 0], intrinsics[1, 1] = (draw(numbers(50, 2000)) for _ in range(2))
    intrinsics[0, 2], intrinsics[1, 2] = (draw(numbers(-500, 2000)) for _ in range(2))
    intrinsics[0, 1] = draw(numbers(-20, 20)) if skew else 0
    depths = st.one_of(numbers(0.5, 100), numbers(-100, -0.5)) if behind else numbers(0.5, 100)
    rows = draw(st.lists(st.tuples(numbers(-1, 1), numbers(-1, 1), depths), min_size=1, max_size=6))
    camera = torch.tensor([[a * depth, b * depth, depth] for a, b, depth in rows], dtype=torch.float64)
    world = (camera - translation.T) @ rotation
    return torch.cat([world, torch.ones(len(rows), 1, dtype=torch.float64)], dim=1), rotation, translation, intrinsics


def close(first: Any, second: Any, tolerance: float = 1e-7) -> bool:
    return torch.allclose(first, second, rtol=1e-9, atol=tolerance, equal_nan=True)


def exact(points: Any, rotation: Any, translation: Any, intrinsics: Any) -> list[list[float]]:
    """U = K [R, T] X by rows of fractions, divided by its last number where the point is in front."""
    fractions = [[[Fraction(value) for value in row] for row in each.tolist()] for each in (rotation, intrinsics)]
    shift = [Fraction(row[0]) for row in translation.tolist()]
    found = []
    for x, y, z, w in ([Fraction(value) for value in row] for row in points.tolist()):
        camera = [
            row[0] * x + row[1] * y + row[2] * z + along * w for row, along in zip(fractions[0], shift, strict=True)
        ]
        image = [sum(a * b for a, b in zip(row, camera, strict=True)) for row in fractions[1]]
        front = camera[2] > 0 if w >= 0 else camera[2] < 0
        found.append([float(each / camera[2]) if front else math.nan for each in image])
    return found


@settings(deadline=None)
@given(st.data())
def test_opencv_gives_the_same_pixels(data: st.DataObject) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is missing")
    vector = data.draw(VECTORS)
    scene = data.draw(scenes(vector=vector))
    points, _, translation, intrinsics = scene
    # OpenCV takes no slice of rows: it has to be contiguous.
    world = points[:, :3].contiguous().numpy()
    theirs, _ = cv2.projectPoints(world, np.array(vector), translation.numpy(), intrinsics.numpy(), None)
    ours = project_camera(*scene)
    assert close(ours[:, :2], torch.from_numpy(theirs.reshape(-1, 2)))
    assert ours[:, 2].tolist() == [1] * len(points)


@settings(deadline=None)
@given(scenes(behind=True, skew=True), numbers(0.01, 100), st.sampled_from((1, -1)))
def test_exact_fractions_give_the_same_pixels(scene: Scene, scale: float, sign: int) -> None:
    scaled = scene[0] * scale * sign
    expected = torch.tensor(exact(scaled, *scene[1:]), dtype=torch.float64)
    assert close(project_camera(scaled, *scene[1:]), expected)


@settings(deadline=None)
@given(scenes(behind=True), st.lists(numbers(0.01, 100), min_size=6, max_size=6), st.sampled_from((1, -1)))
def test_the_scale_of_homogeneous_coordinates_does_not_matter(scene: Scene, scales: list[float], sign: int) -> None:
    points, *camera = scene
    scale = torch.tensor(scales[: len(points)], dtype=torch.float64)[:, None] * sign
    assert close(project_camera(points * scale, *camera), project_camera(points, *camera))


@settings(deadline=None)
@given(scenes(behind=True), st.randoms(use_true_random=False))
def test_a_row_does_not_depend_on_the_others(scene: Scene, random: Any) -> None:
    points, *camera = scene
    together = project_camera(points, *camera)
    alone = torch.cat([project_camera(row[None], *camera) for row in points])
    assert close(together, alone)
    order = random.sample(range(len(points)), len(points))
    assert close(project_camera(points[order], *camera), together[order])


@settings(deadline=None, max_examples=25)
@given(scenes())
def test_gradients_are_those_of_finite_differences(scene: Scene) -> None:
    given_tensors = [each.clone().requires_grad_() for each in scene[:3]]
    focal = scene[3][0, 0].clone().requires_grad_()

    def projected(points: Any, rotation: Any, translation: Any, length: Any) -> Any:
        intrinsics = scene[3].clone()
        intrinsics[0, 0] = length
        return project_camera(points, rotation, translation, intrinsics)[:, :2] / 1000

    assert torch.autograd.gradcheck(projected, (*given_tensors, focal), eps=1e-6, atol=1e-4, rtol=1e-3)


@settings(deadline=None)
@given(scenes(behind=True), st.sampled_from((math.nan, math.inf, -math.inf)))
def test_rows_without_a_picture_disturb_no_gradient(scene: Scene, odd: float) -> None:
    points, *camera = scene
    # A number that is not finite, and a depth of 0.
    broken = torch.tensor([[odd, 1, 1, 1], [0, 0, 0, 0]], dtype=torch.float64)
    seen = project_camera(points, *camera)[:, 2].isfinite()
    gradients = []
    for rows in (torch.cat([points, broken]), points[seen]):
        tensors = [each.clone().requires_grad_() for each in (rows, *camera)]
        project_camera(*tensors)[:, :2].nansum().backward()
        gradients.append([each.grad for each in tensors])
    with_others, without = gradients
    assert with_others[0][:-2][~seen].eq(0).all()
    assert with_others[0][-2:].eq(0).all()
    for first, second in zip([with_others[0][:-2][seen], *with_others[1:]], without, strict=True):
        assert torch.allclose(first, second, rtol=1e-9, atol=1e-7)


@settings(deadline=None)
@given(scenes(behind=True))
def test_a_direction_gives_the_vanishing_point(scene: Scene) -> None:
    points, *camera = scene
    directions = points.clone()
    directions[:, :3] = points[:, :3] + (camera[0].T @ camera[1]).T  # from the camera's centre to the point
    directions[:, 3] = 0
    assert close(project_camera(directions, *camera), project_camera(points, *camera))
    far = directions * 1e12
    far[:, 3] = 1
    assert close(project_camera(directions, *camera), project_camera(far, *camera), 1e-4)


def simple() -> dict[str, Any]:
    eye = torch.eye(3, dtype=torch.float64)
    return {"rotation": eye, "translation": torch.zeros(3, 1, dtype=torch.float64), "intrinsics": eye}


def test_rows_without_a_picture_are_nan_and_named() -> None:
    rows = [[0, 0, 2, 1], [0, 0, -2, 1], [1, 1, 0, 1], [0, 0, -2, -1], [0, 0, -1, 0], [1, 2, 4, 0], [math.nan, 0, 2, 1]]
    points = torch.tensor(rows, dtype=torch.float64)
    found = project_camera(points, **simple())
    assert found.isnan().all(dim=1).tolist() == [False, True, True, False, True, False, True]
    assert found.isnan().any(dim=1).tolist() == found.isnan().all(dim=1).tolist()
    assert found[[0, 3, 5]].tolist() == [[0, 0, 1], [0, 0, 1], [0.25, 0.5, 1]]
    with pytest.raises(ValueError, match=r"rows \[1, 2, 4, 6\] have no picture"):
        project_camera(points, **simple(), strict=True)
    assert torch.equal(project_camera(points[[0, 3]], **simple(), strict=True), found[[0, 3]])


# What overflows is K P X; the quotient; the depth; the depth alone, where u and v are 0; and P X, from finite numbers.
@pytest.mark.parametrize(
    ("row", "focal"),
    [
        ((3e37, 0, 1e37, 1), 1000),
        ((1, 0, 1e-38, 0), 1000),
        ((0, 0, 3e38, 3e38), 1),
        ((0, 0, 3e38, 3e38), 1000),
        ((3e38, 0, 1, 3e38), 1),
    ],
)
def test_an_overflow_is_no_picture_and_disturbs_no_gradient(row: tuple[float, ...], focal: float) -> None:
    camera = {
        "rotation": torch.eye(3),
        "translation": torch.ones(3, 1),
        "intrinsics": torch.diag(torch.tensor([focal, focal, 1.0])),
    }
    good = torch.tensor([[1.0, 2, 4, 1]])
    gradients = []
    for points in (torch.cat([good, torch.tensor([row])]), good):
        tensors = [each.clone().requires_grad_() for each in (points, *camera.values())]
        found = project_camera(*tensors)
        assert found[:1].isfinite().all()
        assert found[1:].isnan().all()
        found[:, :2].nansum().backward()
        gradients.append([each.grad for each in tensors])
    assert gradients[0][0][1:].eq(0).all()
    assert torch.equal(gradients[0][0][:1], gradients[1][0])
    for first, second in zip(gradients[0][1:], gradients[1][1:], strict=True):
        assert torch.equal(first, second)
    with pytest.raises(ValueError, match=r"rows \[1\] have no picture"):
        project_camera(torch.cat([good, torch.tensor([row])]), **camera, strict=True)


def test_large_numbers_without_an_overflow_have_a_picture() -> None:
    camera = simple() | {"intrinsics": torch.diag(torch.tensor([10.0, 10, 1]))}
    camera = {name: each.float() for name, each in camera.items()}
    assert project_camera(torch.tensor([[3e37, 0, 1e37, 1]]), **camera, strict=True).tolist() == [[30, 0, 1]]


def test_no_points_are_no_error() -> None:
    assert project_camera(torch.zeros(0, 4, dtype=torch.float64), **simple(), strict=True).shape == (0, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": torch.zeros(5, 3, dtype=torch.float64)}, r"points of shape \(N, 4\), got \(5, 3\)"),
        ({"translation": torch.zeros(3, dtype=torch.float64)}, r"translation of shape \(3, 1\), got \(3,\)"),
        ({"rotation": torch.zeros(3, 4, dtype=torch.float64)}, r"rotation of shape \(3, 3\), got \(3, 4\)"),
        ({"intrinsics": torch.zeros(3, 3, dtype=torch.float64)}, r"last row \(0, 0, 1\), got \[0.0, 0.0, 0.0\]"),
    ],
)
def test_other_shapes_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        project_camera(**({"points": torch.zeros(5, 4, dtype=torch.float64)} | simple() | change))


def test_other_dtypes_are_refused() -> None:
    points = torch.zeros(5, 4, dtype=torch.float64)
    with pytest.raises(TypeError, match="points float64, rotation float64, translation float64, intrinsics float32"):
        project_camera(points, **(simple() | {"intrinsics": torch.eye(3)}))
    whole = {name: value.long() for name, value in simple().items()}
    with pytest.raises(TypeError, match="one floating-point dtype, got points int64"):
        project_camera(points.long(), **whole)
