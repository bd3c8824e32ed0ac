"""Projects points by a pinhole camera.

The convention is that of OpenCV and of Hartley and Zisserman, Multiple View Geometry, chapter 6: P = [R | T] takes
homogeneous world coordinates to the camera's, where x points to the right, y down and z (the depth) into the scene;
U = K P X is divided by the depth. T is not the camera's place: that is -R^T T.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SHAPES = {"rotation": (3, 3), "translation": (3, 1), "intrinsics": (3, 3)}


def project_camera(
    points: Tensor, rotation: Tensor, translation: Tensor, intrinsics: Tensor, *, strict: bool = False
) -> Tensor:
    """Projects homogeneous points to pixels.

    A row (x, y, z, w) means the point (x, y, z) / w. Its scale does not matter, nor does the scale's sign: (-x, -y, -z,
    -w) is the same point. A row with w = 0 is a direction; it gives the vanishing point, which the pixels of points
    approach as they go that way farther and farther.

    A row is NaN if it has no picture: its point lies behind the camera or in the camera's plane (depth <= 0), it is a
    direction that leads there, or a number of it is not finite, be it given or an overflow on the way to the pixels (of
    K P X, too, although its quotient might fit the dtype). Gradients of such a row are 0 and disturb no other row.

    Args:
        points: [N, 4], homogeneous world coordinates.
        rotation: R, [3, 3], from world to camera.
        translation: T, [3, 1], in the unit of the points.
        intrinsics: K, [3, 3], in pixels; its last row is (0, 0, 1).
        strict: Raise where a row would be NaN.

    Returns:
        [N, 3] of the same dtype: u to the right and v down in pixels, and 1, as the division by the depth leaves it.

    Raises:
        TypeError: The dtypes differ, or are no floating-point ones.
        ValueError: A shape or the last row of `intrinsics` is another one; or, if `strict`, a row has no picture.
    """
    _check(points, rotation, translation, intrinsics)
    pose = torch.cat([rotation, translation], dim=1)
    with torch.no_grad():
        seen = _seen(points, pose, intrinsics)
    if strict and not bool(seen.all()):
        rows = (~seen[:, 0]).nonzero().flatten().tolist()
        raise ValueError(f"project_camera: rows {rows} have no picture: behind the camera, in its plane, or not finite")
    # Rows without a picture are computed as zeros: a gradient of 0 times infinity would be NaN.
    image, depth = _image(torch.where(seen, points, 0), pose, intrinsics)
    return torch.where(seen, image / torch.where(seen, depth, 1), torch.nan)


def _image(points: Tensor, pose: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """K P X, [N, 3], and the depths, [N, 1]."""
    # Points are rows here, so (K P X)^T = X^T P^T K^T.
    camera = points @ pose.T
    return camera @ intrinsics.T, camera[:, 2:]


def _seen(points: Tensor, pose: Tensor, intrinsics: Tensor) -> Tensor:
    """Which rows have a picture, [N, 1]."""
    image, depth = _image(points, pose, intrinsics)
    front = torch.where(points[:, 3:] < 0, -depth, depth) > 0
    finite = torch.cat([points, image, image / depth], dim=1).isfinite().all(dim=1, keepdim=True)
    return front & finite


def _check(points: Tensor, rotation: Tensor, translation: Tensor, intrinsics: Tensor) -> None:
    given = {"rotation": rotation, "translation": translation, "intrinsics": intrinsics}
    if points.dim() != 2 or points.shape[1] != 4:
        raise ValueError(f"project_camera: expected points of shape (N, 4), got {tuple(points.shape)}")
    for name, tensor in given.items():
        if tuple(tensor.shape) != _SHAPES[name]:
            raise ValueError(f"project_camera: expected {name} of shape {_SHAPES[name]}, got {tuple(tensor.shape)}")
    dtypes = {name: tensor.dtype for name, tensor in ({"points": points} | given).items()}
    if len(set(dtypes.values())) > 1 or not points.is_floating_point():
        words = ", ".join(f"{name} {str(dtype).removeprefix('torch.')}" for name, dtype in dtypes.items())
        raise TypeError(f"project_camera: expected one floating-point dtype, got {words}")
    if intrinsics[2].tolist() != [0, 0, 1]:
        raise ValueError(f"project_camera: expected intrinsics with a last row (0, 0, 1), got {intrinsics[2].tolist()}")
