"""A small bank of things that people put on pictures: captions, stamps, smileys, arrows, logos."""

from __future__ import annotations

import functools
import math
import random
import string

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

PATCH_SIZE = 64


def _colour(source: random.Random) -> tuple[int, int, int, int]:
    palette = [(255, 255, 255), (0, 0, 0), (255, 220, 0), (230, 30, 30)]
    plain = source.choice([*palette, tuple(source.randrange(256) for _ in range(3))])
    return (plain[0], plain[1], plain[2], source.choice([255, 255, 255, 150]))


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _text(draw: ImageDraw.ImageDraw, source: random.Random) -> None:
    font = _font(source.randrange(12, 34))
    words = "".join(source.choices(string.ascii_letters + string.digits + "   !?.#@", k=source.randrange(3, 12)))
    if source.random() < 0.4:
        draw.rectangle((0, 14, PATCH_SIZE, 50), fill=_colour(source))
    lines = [words] if source.random() < 0.5 else [words, words[::-1]]
    draw.multiline_text((2, 16), "\n".join(lines), font=font, fill=_colour(source), stroke_width=source.randrange(2))


def _smiley(draw: ImageDraw.ImageDraw, source: random.Random) -> None:
    draw.ellipse((2, 2, 61, 61), fill=source.choice([(255, 210, 60, 255), (255, 170, 90, 255), (140, 200, 255, 255)]))
    for left in (18, 38):
        draw.ellipse((left, 20, left + 8, 20 + source.randrange(4, 14)), fill=(50, 30, 10, 255))
    draw.arc((16, 24, 48, 52), source.randrange(0, 30), source.randrange(150, 180), fill=(50, 30, 10, 255), width=4)


def _shape(draw: ImageDraw.ImageDraw, source: random.Random) -> None:
    kind = source.randrange(5)
    colour = _colour(source)
    if kind == 0:
        draw.rectangle((4, 4, 59, source.randrange(20, 60)), fill=colour)
    elif kind == 1:
        draw.ellipse((4, 4, 59, 59), fill=colour if source.random() < 0.5 else None, outline=colour, width=6)
    elif kind == 2:
        points = source.randrange(3, 9)
        corners = []
        for index in range(2 * points):
            radius = 30 if index % 2 == 0 else source.randrange(8, 28)
            angle = math.pi * index / points
            corners.append((32 + radius * math.cos(angle), 32 + radius * math.sin(angle)))
        draw.polygon(corners, fill=colour)
    elif kind == 3:
        draw.line((6, 58, 50, 14), fill=colour, width=7)
        draw.polygon([(60, 4), (34, 12), (52, 30)], fill=colour)
    else:
        draw.rounded_rectangle((2, 10, 61, 54), 12, fill=colour, outline=_colour(source), width=3)


def render(count: int, seed: int, device: torch.device) -> torch.Tensor:
    """Draws `count` patches: float32 [count, 4, 64, 64] in 0 ... 1, premultiplied by their opacity."""
    source = random.Random(seed)
    patches = []
    for index in range(count):
        image = Image.new("RGBA", (PATCH_SIZE, PATCH_SIZE))
        (_text, _shape, _text, _smiley)[index % 4](ImageDraw.Draw(image), source)
        patches.append(np.asarray(image))
    tensor = torch.from_numpy(np.stack(patches)).permute(0, 3, 1, 2).float() / 255
    tensor[:, :3] *= tensor[:, 3:]
    return tensor.to(device)
