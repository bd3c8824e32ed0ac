"""Distortions of whole batches on the training device, as people and programs change the pictures that they copy.

Everything is a tensor operation: nothing loops over pictures, and nothing waits for the device. An operation with
probability p works on a random subset of round(p x batch) pictures: the cost follows p, and shapes stay fixed.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812

# ITU T.81, tables K.1 and K.2.
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99), (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99), *((99,) * 8,) * 4,
)  # fmt: skip
_RGB_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_YCC_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


class Draws:
    """Random numbers on a device, seeded again and again.

    Args:
        seed: Other seeds give other numbers.
        device: Where they are drawn.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.generator = torch.Generator(device)
        self._seed = seed
        self._device = device

    def seed_with(self, number: int) -> None:
        """Begins the numbers that belong to a number of the caller's."""
        # Neighbouring seeds of the generator are not independent enough to use the sum of both numbers as it is.
        self.generator.manual_seed((self._seed * 1_000_003 + number) * 2_654_435_761 % 2**63)

    def uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        """Numbers of a shape between two limits."""
        return low + (high - low) * torch.rand(*shape, generator=self.generator, device=self._device)

    def subset(self, count: int, share: float) -> torch.Tensor:
        """Indices of a random subset of round(share x count) pictures."""
        order = torch.rand(count, generator=self.generator, device=self._device).argsort()
        return order[: round(share * count)]


class Distorter:
    """Distorts batches.

    Args:
        overlays: Patches from `overlays.render`.
        distort: The section [distort] of the configuration.
        draws: The random numbers, of the device on which everything runs.
    """

    def __init__(self, overlays: torch.Tensor, distort: dict[str, float], draws: Draws) -> None:
        self._overlays = overlays
        self._distort = distort
        self._draws = draws
        self._device = overlays.device
        frequency = torch.arange(8).float()
        basis = torch.cos((2 * frequency[None] + 1) * frequency[:, None] * math.pi / 16) / 2
        basis[0] /= math.sqrt(2)
        self._dct = basis.to(self._device)
        self._luminance = torch.tensor(_LUMINANCE, dtype=torch.float32, device=self._device)
        self._chrominance = torch.tensor(_CHROMINANCE, dtype=torch.float32, device=self._device)
        self._to_ycc = torch.tensor(_RGB_TO_YCC, device=self._device)
        self._to_rgb = torch.tensor(_YCC_TO_RGB, device=self._device)

    def __call__(self, clean: torch.Tensor) -> torch.Tensor:
        """Distorts float32 [N, 3, S, S] in 0 ... 1; the result is in steps of 1 / 255."""
        count = len(clean)
        share = self._distort
        x = clean.clone()
        chosen = self._draws.subset(count, share["mirror"])
        x[chosen] = x[chosen].flip(3)
        chosen = self._draws.subset(count, share["turn"])
        x[chosen] = self._turned(x[chosen])
        chosen = self._draws.subset(count, share["geometry"])
        x[chosen] = self._geometry(x, chosen)
        chosen = self._draws.subset(count, share["overlay"])
        x[chosen] = self._overlay(x[chosen])
        x = self._colour(x)
        chosen = self._draws.subset(count, share["palette"])
        x[chosen] = self._palette(x[chosen])
        chosen = self._draws.subset(count, share["blur"])
        x[chosen] = self._blur(x[chosen])
        chosen = self._draws.subset(count, share["noise"])
        x[chosen] = self._noise(x[chosen])
        chosen = self._draws.subset(count, share["rescale"])
        x[chosen] = self._rescale(x[chosen])
        chosen = self._draws.subset(count, share["jpeg"])
        x[chosen] = self._jpeg(x[chosen].clamp(0, 1))
        return (x.clamp(0, 1) * 255).round() / 255

    def _turned(self, x: torch.Tensor) -> torch.Tensor:
        """Turned by a quarter, a half or three quarters."""
        parts = [part.rot90(quarters, (2, 3)) for quarters, part in enumerate(x.chunk(3), start=1)]
        return torch.cat(parts) if parts else x

    def _palette(self, x: torch.Tensor) -> torch.Tensor:
        """Other colours: half the hue turned, a quarter the channels exchanged, a quarter inverted."""
        count = len(x)
        turned, exchanged = count // 2, count // 4
        # A rotation about the grey axis, Rodrigues' formula.
        angle = self._draws.uniform(0.2, 2 * math.pi - 0.2, turned)[:, None, None]
        grey = torch.full((3, 3), 1 / 3, device=self._device)
        across = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=self._device) / math.sqrt(3)
        rotation = angle.cos() * torch.eye(3, device=self._device) + (1 - angle.cos()) * grey + angle.sin() * across
        hue = torch.einsum("nrc,nchw->nrhw", rotation, x[:turned])
        middle = x[turned : turned + exchanged]
        return torch.cat([hue, middle[:, [2, 0, 1]], 1 - x[turned + exchanged :]])

    def _geometry(self, batch: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """Half: rotation with zoom. Half: the picture shrunk onto a canvas (border, letterbox, screenshot)."""
        x = batch[chosen]
        count, _, _, size = x.shape
        if count == 0:
            return x
        on_canvas = torch.arange(count, device=self._device) % 2 == 0
        limit = math.radians(self._distort["rotation_degrees"])
        angle = self._draws.uniform(-limit, limit, count) * torch.where(on_canvas, 0.15, 1.0)
        zoom = self._draws.uniform(0.75, 1.0, count)
        # On a canvas: the picture's share of it, in one direction (letterbox), or in both.
        shrunk = self._draws.uniform(0.5, 1.0, count)
        other = torch.where(
            self._draws.uniform(0, 1, count) < 0.4, torch.ones_like(shrunk), self._draws.uniform(0.85, 1.1, count)
        )
        upright = self._draws.uniform(0, 1, count) < 0.5
        share_x = torch.where(upright, shrunk, torch.where(other == 1, other, shrunk * other)).clamp(max=1)
        share_y = torch.where(upright, torch.where(other == 1, other, shrunk * other), shrunk).clamp(max=1)
        scale_x = torch.where(on_canvas, 1 / share_x, zoom)
        scale_y = torch.where(on_canvas, 1 / share_y, zoom)
        shift_x = self._draws.uniform(-1, 1, count) * (1 - scale_x).abs()
        shift_y = self._draws.uniform(-1, 1, count) * (1 - scale_y).abs()
        cosine, sine = angle.cos(), angle.sin()
        theta = torch.stack(
            [
                torch.stack([cosine * scale_x, -sine * scale_y, shift_x], 1),
                torch.stack([sine * scale_x, cosine * scale_y, shift_y], 1),
            ],
            1,
        )
        grid = F.affine_grid(theta, [count, 3, size, size], align_corners=False)
        moved = F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
        inside = (grid.abs().amax(3) <= 1) | ~on_canvas[:, None, None]
        return torch.where(inside[:, None], moved, self._canvas(batch, chosen))

    def _canvas(self, batch: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """Plain colours, some with bars as a window has, some another picture, darkened."""
        count, size = len(chosen), batch.shape[-1]
        kind = self._draws.uniform(0, 1, count, 1, 1, 1)
        colour = self._draws.uniform(0, 1, count, 3, 1, 1)
        colour = torch.where(kind < 0.3, torch.zeros_like(colour), colour)
        colour = torch.where((kind >= 0.3) & (kind < 0.55), torch.ones_like(colour), colour)
        canvas = colour.expand(count, 3, size, size)
        row = (torch.arange(size, device=self._device) / size)[None, None, :, None]
        bars = (row < self._draws.uniform(0, 0.15, count, 1, 1, 1)) | (
            row > self._draws.uniform(0.88, 1.1, count, 1, 1, 1)
        )
        bars = bars & (self._draws.uniform(0, 1, count, 1, 1, 1) < 0.5)
        canvas = torch.where(bars, self._draws.uniform(0, 1, count, 3, 1, 1), canvas)
        other = batch[(chosen + 1) % len(batch)] * self._draws.uniform(0.2, 0.8, count, 1, 1, 1)
        return torch.where(kind > 0.85, other, canvas)

    def _overlay(self, x: torch.Tensor) -> torch.Tensor:
        """Pastes a caption, a smiley or a shape."""
        count, _, _, size = x.shape
        if count == 0:
            return x
        which = torch.randint(len(self._overlays), (count,), generator=self._draws.generator, device=self._device)
        scale = 1 / self._draws.uniform(0.12, 0.5, count)
        stretch = self._draws.uniform(-0.3, 0.3, count).exp()
        angle = self._draws.uniform(-0.4, 0.4, count)
        x_at, y_at = self._draws.uniform(-0.9, 0.9, count), self._draws.uniform(-0.9, 0.9, count)
        a, b = angle.cos() * scale * stretch, -angle.sin() * scale
        c, d = angle.sin() * scale * stretch, angle.cos() * scale
        theta = torch.stack(
            [torch.stack([a, b, -(a * x_at + b * y_at)], 1), torch.stack([c, d, -(c * x_at + d * y_at)], 1)], 1
        )
        grid = F.affine_grid(theta, [count, 4, size, size], align_corners=False)
        patch = F.grid_sample(self._overlays[which], grid, mode="bilinear", align_corners=False)
        patch = patch * self._draws.uniform(0.5, 1.0, count, 1, 1, 1)
        return patch[:, :3] + x * (1 - patch[:, 3:])

    def _colour(self, x: torch.Tensor) -> torch.Tensor:
        """Gamma, brightness, contrast, saturation and white balance; some pictures become grey."""
        count = len(x)

        def some(share: float) -> torch.Tensor:
            return self._draws.uniform(0, 1, count, 1, 1, 1) < share

        strength = some(self._distort["colour"]).float()
        gamma = (self._draws.uniform(-0.4, 0.4, count, 1, 1, 1) * strength).exp()
        gain = (self._draws.uniform(-0.35, 0.35, count, 1, 1, 1) * strength).exp()
        balance = (self._draws.uniform(-0.18, 0.18, count, 3, 1, 1) * strength).exp()
        contrast = (self._draws.uniform(-0.4, 0.4, count, 1, 1, 1) * strength).exp()
        saturation = 1 + self._draws.uniform(-0.7, 0.6, count, 1, 1, 1) * strength
        saturation = torch.where(some(self._distort["grey"]), torch.zeros_like(saturation), saturation)
        x = x.clamp(1e-4, 1).pow(gamma) * (gain * balance)
        grey = (x * self._to_ycc[0][None, :, None, None]).sum(1, keepdim=True)
        x = grey + (x - grey) * saturation
        middle = grey.mean((2, 3), keepdim=True)
        return (middle + (x - middle) * contrast).clamp(0, 1)

    def _blur(self, x: torch.Tensor) -> torch.Tensor:
        """Gaussian blur of a random width."""
        count, channels, height, width = x.shape
        if count == 0:
            return x
        radius = 6
        sigma = (self._draws.uniform(0.4, 2.0, count, 1) * (width / 128)).clamp(min=0.4)
        offsets = torch.arange(-radius, radius + 1, device=self._device)
        kernel = (-(offsets[None] ** 2) / (2 * sigma**2)).exp()
        kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
        planes = F.pad(x, (radius,) * 4, mode="reflect").reshape(1, count * channels, height + 12, width + 12)
        planes = F.conv2d(planes, kernel[:, None, :, None], groups=count * channels)
        planes = F.conv2d(planes, kernel[:, None, None, :], groups=count * channels)
        return planes.view(count, channels, height, width)

    def _noise(self, x: torch.Tensor) -> torch.Tensor:
        """Gaussian noise of a random strength."""
        noise = torch.randn(x.shape, generator=self._draws.generator, device=self._device)
        return x + noise * self._draws.uniform(0.01, 0.08, len(x), 1, 1, 1)

    def _rescale(self, x: torch.Tensor) -> torch.Tensor:
        """Down and up again, by three factors and three ways to scale up."""
        size = x.shape[-1]
        done = []
        parts = zip(x.chunk(3), (0.3, 0.45, 0.65), ("bicubic", "bilinear", "nearest"), strict=False)
        for part, factor, mode in parts:
            small = F.interpolate(part, (round(size * factor),) * 2, mode="bilinear", antialias=True)
            align = None if mode == "nearest" else False
            done.append(F.interpolate(small, (size, size), mode=mode, align_corners=align))
        return torch.cat(done) if done else x

    def _jpeg(self, x: torch.Tensor) -> torch.Tensor:
        """What JPEG loses: colour at half the resolution, and DCT coefficients quantised by the standard's tables."""
        count, _, height, width = x.shape
        if count == 0:
            return x
        padded = F.pad(x, (0, -width % 16, 0, -height % 16), mode="replicate") * 255
        ycc = torch.einsum("rc,nchw->nrhw", self._to_ycc, padded)
        # libjpeg's scale of qualities.
        quality = self._draws.uniform(10, 85, count)
        percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None]
        luminance = ((self._luminance * percent + 50) / 100).floor().clamp(1, 255)
        chrominance = ((self._chrominance * percent + 50) / 100).floor().clamp(1, 255)
        y = self._quantised(ycc[:, :1] - 128, luminance) + 128
        colour = self._quantised(F.avg_pool2d(ycc[:, 1:], 2), chrominance)
        colour = F.interpolate(colour, scale_factor=2, mode="nearest")
        rgb = torch.einsum("rc,nchw->nrhw", self._to_rgb, torch.cat([y, colour], 1)) / 255
        return rgb[:, :, :height, :width]

    def _quantised(self, planes: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """Rounds the DCT coefficients of 8 x 8 blocks of [N, C, H, W] to multiples of table [N, 8, 8]."""
        count, channels, height, width = planes.shape
        blocks = planes.view(count, channels, height // 8, 8, width // 8, 8).permute(0, 1, 2, 4, 3, 5)
        steps = table[:, None, None, None]
        coefficients = self._dct @ blocks @ self._dct.T
        coefficients = (coefficients / steps).round() * steps
        blocks = self._dct.T @ coefficients @ self._dct
        return blocks.permute(0, 1, 2, 4, 3, 5).reshape(count, channels, height, width)
