"""Makes copies of photos as people and programs make them: cropped, recompressed, recoloured, with text, framed.

Every transform draws its strength from a random generator that depends on the seed, on the photo's own pixels and on
the transform's name alone. So a copy does not change when other photos or transforms come or go.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Random = np.random.Generator
Transform = Callable[[Image.Image, Random], Image.Image]
Pixels = npt.NDArray[np.uint8]

_WORDS = (
    "the",
    "best",
    "day",
    "ever",
    "when",
    "you",
    "see",
    "it",
    "www.example.org",
    "2024",
    "no",
    "way",
    "love",
    "this",
)
_INK = (24, 24, 28)
_PAPER = (246, 246, 248)


def _crop(image: Image.Image, random: Random, least: float, most: float) -> Image.Image:
    """Keeps a share between `least` and `most` of the area, at any place, with a slightly different aspect ratio."""
    share = random.uniform(least, most)
    bend = math.exp(random.uniform(-0.15, 0.15))
    width = min(image.width, max(1, round(image.width * math.sqrt(share) * bend)))
    height = min(image.height, max(1, round(image.height * math.sqrt(share) / bend)))
    left = int(random.integers(0, image.width - width + 1))
    top = int(random.integers(0, image.height - height + 1))
    return image.crop((left, top, left + width, top + height))


def crop_light(image: Image.Image, random: Random) -> Image.Image:
    """Crop that keeps 70 to 90 % of the area."""
    return _crop(image, random, 0.7, 0.9)


def crop_heavy(image: Image.Image, random: Random) -> Image.Image:
    """Crop that keeps 50 to 70 % of the area."""
    return _crop(image, random, 0.5, 0.7)


def downsize(image: Image.Image, random: Random) -> Image.Image:
    """Longer side 64 to 160 pixels."""
    scale = random.uniform(64, 160) / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def stretch(image: Image.Image, random: Random) -> Image.Image:
    """Aspect ratio changed by a factor between 1.2 and 1.6, and cropped back to the old one."""
    factor = random.uniform(1.2, 1.6)
    wide = bool(random.integers(2))
    size = (round(image.width * factor), image.height) if wide else (image.width, round(image.height * factor))
    return ImageOps.fit(image.resize(size, Image.Resampling.BICUBIC), image.size, Image.Resampling.BICUBIC)


def _recode(image: Image.Image, kind: str, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=quality)
    buffer.seek(0)
    return Image.open(buffer).convert("RGB")


def jpeg(image: Image.Image, random: Random) -> Image.Image:
    """JPEG of quality 10 to 40."""
    return _recode(image, "JPEG", int(random.integers(10, 41)))


def webp(image: Image.Image, random: Random) -> Image.Image:
    """WebP of quality 5 to 30."""
    return _recode(image, "WEBP", int(random.integers(5, 31)))


def colour(image: Image.Image, random: Random) -> Image.Image:
    """Hue turned by up to 18 degrees; saturation, brightness and contrast changed by up to half."""
    hue, saturation, value = image.convert("HSV").split()
    shift = int(random.integers(-13, 14))
    turned = hue.point([(level + shift) % 256 for level in range(256)])
    picture = Image.merge("HSV", (turned, saturation, value)).convert("RGB")
    for enhance in (ImageEnhance.Color, ImageEnhance.Brightness, ImageEnhance.Contrast):
        picture = enhance(picture).enhance(random.uniform(0.6, 1.5))
    return picture


def gamma(image: Image.Image, random: Random) -> Image.Image:
    """Gamma of 0.45 to 0.7 or 1.5 to 2.2."""
    exponent = random.uniform(1.5, 2.2) if random.integers(2) else random.uniform(0.45, 0.7)
    table = [round(255 * (level / 255) ** exponent) for level in range(256)]
    return image.point(table * 3)


def blur(image: Image.Image, random: Random) -> Image.Image:
    """Gaussian blur with a radius of 0.6 to 1.5 % of the shorter side."""
    return image.filter(ImageFilter.GaussianBlur(min(image.size) * random.uniform(0.006, 0.015)))


def noise(image: Image.Image, random: Random) -> Image.Image:
    """Gaussian noise with a standard deviation of 15 to 40 levels, for each pixel and channel."""
    pixels = np.asarray(image, np.float32)
    noisy = pixels + random.normal(0, random.uniform(15, 40), pixels.shape).astype(np.float32)
    return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


def rotation(image: Image.Image, random: Random) -> Image.Image:
    """Rotation by 3 to 10 degrees either way; the corners are black or white."""
    angle = random.uniform(3, 10) * (1 if random.integers(2) else -1)
    fill = (0, 0, 0) if random.integers(2) else (255, 255, 255)
    return image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=fill)


def mirror(image: Image.Image, random: Random) -> Image.Image:
    """Left and right exchanged."""
    del random
    return ImageOps.mirror(image)


def border(image: Image.Image, random: Random) -> Image.Image:
    """A frame in one colour, 5 to 20 % of the shorter side wide."""
    width = max(1, round(min(image.size) * random.uniform(0.05, 0.2)))
    shade = tuple(int(level) for level in random.integers(0, 256, 3))
    return ImageOps.expand(image, width, fill=shade)


def letterbox(image: Image.Image, random: Random) -> Image.Image:
    """Black or white bars above and below, or left and right: 15 to 35 % of that side in all."""
    share = random.uniform(0.15, 0.35)
    fill = (0, 0, 0) if random.integers(2) else (255, 255, 255)
    upright = bool(random.integers(2))
    size = (
        image.width if upright else round(image.width / (1 - share)),
        round(image.height / (1 - share)) if upright else image.height,
    )
    canvas = Image.new("RGB", size, fill)
    canvas.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return canvas


def text(image: Image.Image, random: Random) -> Image.Image:
    """One to three lines of outlined text, each 7 to 14 % of the height."""
    picture = image.copy()
    draw = ImageDraw.Draw(picture)
    for _ in range(int(random.integers(1, 4))):
        size = max(6, round(image.height * random.uniform(0.07, 0.14)))
        line = " ".join(random.choice(_WORDS, int(random.integers(2, 6))))
        if random.integers(2):
            line = line.upper()
        place = (round(image.width * random.uniform(0, 0.3)), round(image.height * random.uniform(0, 0.85)))
        light = bool(random.integers(2))
        draw.text(
            place,
            line,
            fill="white" if light else "black",
            font=ImageFont.load_default(size),
            stroke_width=max(1, size // 14),
            stroke_fill="black" if light else "white",
        )
    return picture


def emoji(image: Image.Image, random: Random) -> Image.Image:
    """One to three drawn faces or hearts of 15 to 30 % of the shorter side."""
    picture = image.copy()
    for _ in range(int(random.integers(1, 4))):
        side = max(8, round(min(image.size) * random.uniform(0.15, 0.3)))
        sticker = _heart(side) if random.integers(3) == 0 else _face(side)
        left = int(random.integers(0, max(1, image.width - side)))
        top = int(random.integers(0, max(1, image.height - side)))
        picture.paste(sticker, (left, top), sticker)
    return picture


def _face(side: int) -> Image.Image:
    """A smiling face on a transparent ground, RGBA [side, side]."""
    big = 4 * side  # Drawn large and scaled down, which smooths the edges.
    layer = Image.new("RGBA", (big, big))
    draw = ImageDraw.Draw(layer)
    draw.ellipse((0, 0, big - 1, big - 1), fill=(255, 204, 51, 255), outline=(186, 126, 0, 255), width=big // 40)
    for centre in (0.33, 0.67):
        draw.ellipse(((centre - 0.07) * big, 0.28 * big, (centre + 0.07) * big, 0.48 * big), fill=(70, 45, 10, 255))
    draw.chord((0.22 * big, 0.35 * big, 0.78 * big, 0.83 * big), 10, 170, fill=(140, 30, 40, 255))
    return layer.resize((side, side), Image.Resampling.LANCZOS)


def _heart(side: int) -> Image.Image:
    """A red heart on a transparent ground, RGBA [side, side]."""
    big = 4 * side
    layer = Image.new("RGBA", (big, big))
    turn = np.linspace(0, 2 * np.pi, 200)
    across = 16 * np.sin(turn) ** 3
    up = 13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn)
    points = [(float(big * (0.5 + x / 34)), float(big * (0.46 - y / 34))) for x, y in zip(across, up, strict=True)]
    ImageDraw.Draw(layer).polygon(points, fill=(220, 30, 60, 255))
    return layer.resize((side, side), Image.Resampling.LANCZOS)


def screenshot(image: Image.Image, random: Random) -> Image.Image:
    """The photo in a made-up app's window: a bar above, a caption and buttons below, 25 to 45 % more height."""
    width = image.width
    extra = image.height * random.uniform(0.25, 0.45)
    above, below = max(4, round(extra * 0.4)), max(6, round(extra * 0.6))
    dark = bool(random.integers(2))
    paper, ink = (_INK, _PAPER) if dark else (_PAPER, _INK)
    canvas = Image.new("RGB", (width, image.height + above + below), paper)
    canvas.paste(image, (0, above))
    draw = ImageDraw.Draw(canvas)
    pad = max(2, width // 40)
    small = ImageFont.load_default(max(6, round(above * 0.25)))
    draw.text((pad, above * 0.05), f"{random.integers(0, 24):02}:{random.integers(0, 60):02}", fill=ink, font=small)
    draw.rounded_rectangle((width - pad - above * 0.5, above * 0.1, width - pad, above * 0.3), above * 0.05, fill=ink)
    draw.ellipse((pad, above * 0.42, pad + above * 0.5, above * 0.92), fill=(90, 130, 220))
    draw.text((2 * pad + above * 0.5, above * 0.5), str(random.choice(_WORDS)), fill=ink, font=small)
    bottom = above + image.height
    for index in range(4):
        left = pad + index * below * 0.5
        draw.ellipse(
            (left, bottom + below * 0.1, left + below * 0.28, bottom + below * 0.38),
            outline=ink,
            width=max(1, pad // 4),
        )
    caption = ImageFont.load_default(max(6, round(below * 0.18)))
    for line in range(2):
        words = " ".join(random.choice(_WORDS, 6))
        draw.text((pad, bottom + below * (0.48 + 0.24 * line)), words, fill=ink, font=caption)
    return canvas


def greyscale(image: Image.Image, random: Random) -> Image.Image:
    """No colour."""
    del random
    return image.convert("L").convert("RGB")


TRANSFORMS: dict[str, Transform] = {
    "crop 70-90 %": crop_light,
    "crop 50-70 %": crop_heavy,
    "downsize": downsize,
    "stretch": stretch,
    "JPEG": jpeg,
    "WebP": webp,
    "colour": colour,
    "gamma": gamma,
    "blur": blur,
    "noise": noise,
    "rotation": rotation,
    "mirror": mirror,
    "border": border,
    "letterbox": letterbox,
    "text": text,
    "emoji": emoji,
    "screenshot": screenshot,
    "greyscale": greyscale,
}


def photo_hash(image: Image.Image) -> str:
    """Returns the SHA-256 of an RGB picture's size and pixels: what identifies a photo, whatever its file is called."""
    digest = hashlib.sha256(f"{image.width} {image.height} ".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def make_copy(image: Image.Image, name: str, seed: int, *, identity: str | None = None) -> Image.Image:
    """Makes one copy of an RGB picture.

    Args:
        image: The photo, mode RGB.
        name: A key of TRANSFORMS.
        seed: Another seed gives other strengths and places.
        identity: The photo's `photo_hash` where it is known already.

    Returns:
        The copy, mode RGB; its size may differ from the photo's.
    """
    key = hashlib.sha256(f"{seed} {identity or photo_hash(image)} {name}".encode()).digest()
    return TRANSFORMS[name](image, np.random.default_rng(int.from_bytes(key, "big")))


def with_copies(image: Image.Image, seed: int) -> list[Pixels]:
    """Returns the photo and one copy by each transform, in their order: uint8 [height, width, 3] each."""
    identity = photo_hash(image)
    pictures = [image, *(make_copy(image, name, seed, identity=identity) for name in TRANSFORMS)]
    return [np.asarray(picture) for picture in pictures]
