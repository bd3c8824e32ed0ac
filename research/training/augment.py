"""Crops and distortions of whole batches on the training device.

One call gives distorted copies of crops, which the student sees; the clean crops, which the teacher sees, are drawn
where they are wanted. Everything is a tensor operation: nothing loops over pictures, and nothing waits for the device.
All randomness comes from one generator that is seeded again for each step's distortions and for each group of crops, so
that a step's batch is the same whether or not training was interrupted before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from research.training.bank import LEVELS, PhotoBank
from research.training.distort import Distorter, Draws


@dataclass
class Crops:
    """Which parts of which photos a batch shows; crops i and i + N / 2 are a pair from one photo.

    Attributes:
        ground: int64 [N], photo in the bank.
        quad: float32 [N, 4, 2], corners of the crop in the photo's pixels.
        thing: int64 [M], cut-outs pasted on some of the crops.
        thing_quad: float32 [M, 4, 2].
        place: int64 [M], the crops on which they are pasted.
        same_crop: bool [N / 2], whether a pair's crops are equal.
        mixed: int64 [K], the crops that show a part of another crop as well.
        partner: int64 [K], which one.
        window: float32 [K, 4], where (left, top, right, bottom), as shares of the picture's sides.
        opacity: float32 [K], how much of the other picture is seen there.
    """

    ground: torch.Tensor
    quad: torch.Tensor
    thing: torch.Tensor
    thing_quad: torch.Tensor
    place: torch.Tensor
    same_crop: torch.Tensor
    mixed: torch.Tensor
    partner: torch.Tensor
    window: torch.Tensor
    opacity: torch.Tensor

    @classmethod
    def joined(cls, parts: list[Crops]) -> Crops:
        """All crops of several groups, first crops of all pairs first."""
        if len(parts) == 1:
            return parts[0]
        halves = [len(part.same_crop) for part in parts]
        before = [sum(halves[:index]) for index in range(len(parts))]

        def moved(indices: list[torch.Tensor]) -> torch.Tensor:
            """Indices of crops of one part as those of the whole."""
            shifts = zip(indices, halves, before, strict=True)
            return torch.cat([torch.where(i < half, i + b, i + b + sum(halves) - half) for i, half, b in shifts])

        def pairwise(values: list[torch.Tensor]) -> torch.Tensor:
            firsts = [value[:half] for value, half in zip(values, halves, strict=True)]
            return torch.cat(firsts + [value[half:] for value, half in zip(values, halves, strict=True)])

        return cls(
            pairwise([part.ground for part in parts]),
            pairwise([part.quad for part in parts]),
            torch.cat([part.thing for part in parts]),
            torch.cat([part.thing_quad for part in parts]),
            moved([part.place for part in parts]),
            torch.cat([part.same_crop for part in parts]),
            moved([part.mixed for part in parts]),
            moved([part.partner for part in parts]),
            torch.cat([part.window for part in parts]),
            torch.cat([part.opacity for part in parts]),
        )


@dataclass
class Batch:
    """One step's pictures; pictures i and i + N / 2 are two crops of one photo.

    Attributes:
        crops: What is to be seen; `Augmenter.render` makes clean pictures of it.
        distorted: float32 [N, 3, student_size, student_size] in 0 ... 1.
        photo: int64 [N], equal for crops of the same original photo.
        other: int64 [N], the photo that a mixed crop shows as well; -1 for all others.
    """

    crops: Crops
    distorted: torch.Tensor
    photo: torch.Tensor
    other: torch.Tensor

    def related(self) -> torch.Tensor:
        """Which crops show the same photo, wholly or in part: bool [N, N]."""
        photo, other = self.photo, self.other
        either = (photo[:, None] == photo) | (photo[:, None] == other) | (other[:, None] == photo)
        return either | ((other[:, None] == other) & (other >= 0))


class Augmenter:
    """Makes batches from a photo bank.

    Args:
        bank: The photos.
        overlays: Patches from `overlays.render`.
        data: The section [data] of the configuration.
        distort: The section [distort].
        seed: Other seeds give other batches.
    """

    def __init__(
        self, bank: PhotoBank, overlays: torch.Tensor, data: dict[str, Any], distort: dict[str, float], seed: int
    ) -> None:
        self._bank = bank
        self._data = data
        self._device = bank.pixels.device
        self._draws = Draws(seed, self._device)
        self._distorter = Distorter(overlays, distort, self._draws)
        # From the corners of a quadrilateral: upper left, upper right, lower left, lower right.
        self._inwards = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]], device=self._device)
        self._whole = torch.tensor([0.0, 0.0, 1.0, 1.0], device=self._device)

    def batch(self, step: int, student_size: int, groups: list[int] | None = None) -> Batch:
        """Makes the batch of a step.

        Args:
            step: Seeds the distortions.
            student_size: Side of the distorted pictures.
            groups: Numbers that seed one group of crops each; the batch is all of them. New crops for the step if None.
        """
        pairs = self._data["batch"] // 2
        seeds = [2 * step] if groups is None else [2 * group for group in groups]
        crops = Crops.joined([self._crops(seed, pairs // len(seeds)) for seed in seeds])
        clean = self.render(crops, student_size)
        self._draws.seed_with(2 * step + 1)
        photo = crops.ground.clone()
        photo[crops.place] = crops.thing
        group = self._bank.group[photo]
        other = torch.full_like(group, -1)
        other[crops.mixed] = group[crops.partner]
        return Batch(crops, self.distorted(clean), group, other)

    def distorted(self, clean: torch.Tensor) -> torch.Tensor:
        """Distorted pictures; see `Distorter`."""
        return self._distorter(clean)

    # ---- crops

    def _draw_photos(self, among: torch.Tensor, count: int) -> torch.Tensor:
        chosen = torch.multinomial(self._bank.weight[among], count, replacement=True, generator=self._draws.generator)
        return among[chosen]

    def _crops(self, seed: int, pairs: int) -> Crops:
        """Draws pairs of crops."""
        self._draws.seed_with(seed)
        cutouts = round(self._data["cutout_share"] * pairs) if len(self._bank.cutouts) else 0
        if not len(self._bank.photos):
            raise ValueError("the bank holds no ordinary photos")
        ground = self._draw_photos(self._bank.photos, pairs)
        same = self._draws.uniform(0, 1, pairs) < self._data["same_crop_share"]
        first = self._rectangle(self._full(ground), self._data["crop_area"])
        second = self._rectangle(first, self._data["pair_area"])
        quad = torch.cat([self._quad(first), self._quad(second)])
        quad[pairs:] = torch.where(same[:, None, None], quad[:pairs], quad[pairs:])
        thing = self._bank.cutouts[:0]
        if cutouts:
            thing = self._draw_photos(self._bank.cutouts, cutouts)
        quads = torch.cat([self._quad(self._around(thing)), self._quad(self._around(thing))])
        quads[cutouts:] = torch.where(same[:cutouts, None, None], quads[:cutouts], quads[cutouts:])
        # The first pairs of the group carry them, at the same place in either half.
        place = torch.arange(cutouts, device=self._device)
        place = torch.cat([place, place + pairs])
        mix = self._mix(same)
        return Crops(torch.cat([ground, ground]), quad, torch.cat([thing, thing]), quads, place, same, *mix)

    def _mix(self, same: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Which pairs show a part of another pair, and how: a window cut out of it, or both pictures blended.

        Few photos in ever new combinations, for which the teacher gives the target: Yun et al., "CutMix", 2019; Beyer
        et al. (see losses.py) on blends. Either crop of a pair is mixed in the same way with the same pair, and equal
        crops with the same crop of it.
        """
        pairs = len(same)
        mixed = self._draws.subset(pairs, self._data["mix_share"])
        count = len(mixed)
        other = self._draws.uniform(1, max(2, pairs), count).long().clamp(max=max(1, pairs - 1))
        partner = (mixed + other) % pairs
        share = self._draws.uniform(*self._data["window_area"], count).sqrt()
        stretch = self._draws.uniform(-0.4, 0.4, count).exp()
        width, height = (share * stretch).clamp(max=1), (share / stretch).clamp(max=1)
        left, top = (1 - width) * self._draws.uniform(0, 1, count), (1 - height) * self._draws.uniform(0, 1, count)
        window = torch.stack([left, top, left + width, top + height], 1)
        blended = self._draws.uniform(0, 1, count) < self._data["blend_share"]
        window = torch.where(blended[:, None], self._whole, window)
        opacity = torch.where(blended, self._draws.uniform(0.2, 0.5, count), torch.ones(count, device=self._device))
        partners = torch.cat([partner, torch.where(same[mixed], partner, partner + pairs)])
        return torch.cat([mixed, mixed + pairs]), partners, torch.cat([window, window]), torch.cat([opacity, opacity])

    def render(self, crops: Crops, size: int) -> torch.Tensor:
        """The crops as clean pictures: float32 [N, 3, size, size] in 0 ... 1."""
        clean = self._sample(crops.ground, crops.quad, size)[..., :3]
        if len(crops.thing):
            pasted = self._sample(crops.thing, crops.thing_quad, size, outside_is_empty=True)
            alpha = pasted[..., 3:]
            clean[crops.place] = pasted[..., :3] * alpha + clean[crops.place] * (1 - alpha)
        if len(crops.mixed):
            centre = (torch.arange(size, device=self._device) + 0.5) / size
            left, top, right, bottom = crops.window[:, :, None].unbind(1)
            across, down = (centre > left) & (centre < right), (centre > top) & (centre < bottom)
            part = (down[:, :, None] & across[:, None, :]).float() * crops.opacity[:, None, None]
            # Indexing copies, so that a partner is seen as it was before it was mixed itself.
            clean[crops.mixed] = torch.lerp(clean[crops.mixed], clean[crops.partner], part[..., None])
        return clean.permute(0, 3, 1, 2).contiguous()

    def _full(self, photo: torch.Tensor) -> torch.Tensor:
        """Rectangles [N, 4] (left, top, width, height) of whole photos."""
        width, height = self._bank.width[photo, 0].float(), self._bank.height[photo, 0].float()
        return torch.stack([torch.zeros_like(width), torch.zeros_like(width), width, height], 1)

    def _rectangle(self, outer: torch.Tensor, area: list[float]) -> torch.Tensor:
        """Random rectangles inside `outer`, of a random share of its area and a random aspect ratio."""
        count = len(outer)
        share = self._draws.uniform(area[0], area[1], count).sqrt()
        stretch = self._draws.uniform(-0.25, 0.25, count).exp()
        width = (outer[:, 2] * share * stretch).minimum(outer[:, 2])
        height = (outer[:, 3] * share / stretch).minimum(outer[:, 3])
        left = outer[:, 0] + (outer[:, 2] - width) * self._draws.uniform(0, 1, count)
        top = outer[:, 1] + (outer[:, 3] - height) * self._draws.uniform(0, 1, count)
        return torch.stack([left, top, width, height], 1)

    def _around(self, photo: torch.Tensor) -> torch.Tensor:
        """Random rectangles that hold most of a cut-out thing."""
        full = self._full(photo)
        count = len(photo)
        side = full[:, 2:].amax(1) * self._draws.uniform(0.85, 1.8, count)
        stretch = self._draws.uniform(-0.15, 0.15, count).exp()
        width, height = side * stretch, side / stretch
        left = (full[:, 2] - width) * self._draws.uniform(0.2, 0.8, count)
        top = (full[:, 3] - height) * self._draws.uniform(0.2, 0.8, count)
        return torch.stack([left, top, width, height], 1)

    def _quad(self, rectangle: torch.Tensor) -> torch.Tensor:
        """Corners [N, 4, 2] of rectangles, moved inwards at random: a view at an angle."""
        left, top, width, height = rectangle.unbind(1)
        shift = self._draws.uniform(0, self._data["perspective"], len(rectangle), 4, 2)
        # Half of the crops are seen straight on.
        shift = shift * (self._draws.uniform(0, 1, len(rectangle), 1, 1) < 0.5)
        x = torch.stack([left, left + width, left, left + width], 1)
        y = torch.stack([top, top, top + height, top + height], 1)
        size = torch.stack([width, height], 1)[:, None]
        return torch.stack([x, y], 2) + shift * size * self._inwards

    def _sample(
        self, photo: torch.Tensor, quad: torch.Tensor, size: int, *, outside_is_empty: bool = False
    ) -> torch.Tensor:
        """Bilinear samples of quadrilaterals of photos: float32 [N, size, size, 4] in 0 ... 1."""
        bank = self._bank
        reach = (quad.amax(1) - quad.amin(1)).amin(1)
        level = ((reach / size).clamp(min=1e-6).log2() + 0.4).floor().clamp(0, LEVELS - 1).long()
        offset, width, height = (table[photo, level][:, None, None] for table in (bank.offset, bank.width, bank.height))
        scale = torch.stack([width[:, 0, 0] / bank.width[photo, 0], height[:, 0, 0] / bank.height[photo, 0]], 1)
        corners = quad * scale[:, None]
        position = (torch.arange(size, device=self._device) + 0.5) / size
        across = position[None, :, None]
        top = corners[:, None, 0] * (1 - across) + corners[:, None, 1] * across
        bottom = corners[:, None, 2] * (1 - across) + corners[:, None, 3] * across
        down = position[None, :, None, None]
        xy = top[:, None] * (1 - down) + bottom[:, None] * down - 0.5
        x, y = xy[..., 0], xy[..., 1]
        x0, y0 = x.floor(), y.floor()
        along_x, along_y = (x - x0)[..., None], (y - y0)[..., None]
        left = x0.long().clamp(min=0).minimum(width - 1)
        right = (x0.long() + 1).clamp(min=0).minimum(width - 1)
        upper = offset + y0.long().clamp(min=0).minimum(height - 1) * width
        lower = offset + (y0.long() + 1).clamp(min=0).minimum(height - 1) * width

        def at(index: torch.Tensor) -> torch.Tensor:
            return bank.pixels[index].view(torch.uint8).view(*index.shape, 4).float()

        above = torch.lerp(at(upper + left), at(upper + right), along_x)
        below = torch.lerp(at(lower + left), at(lower + right), along_x)
        sampled = torch.lerp(above, below, along_y) / 255
        if outside_is_empty:
            inside = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
            sampled[..., 3] *= inside
        return sampled
