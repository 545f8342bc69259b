"""Colour profiles: a picture's own colours to sRGB."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

MAX_PROFILE = 8 << 20
SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
"""The colour space that the profile of a mode must be of."""
STEPS = 9
"""Colours along each axis by which two spaces are compared."""
SAME = 3
"""Colours that differ by no more than this, of 255, are the same."""


def srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Return a picture in RGB, by its profile where that can be used."""
    if picture.mode not in SPACES:
        picture = picture.convert("RGB")
    transform = _transform(profile, picture.mode) if len(profile) <= MAX_PROFILE else None
    if transform is None:
        return picture.convert("RGB")
    converted = ImageCms.applyTransform(picture, transform)
    return picture.convert("RGB") if converted is None else converted


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the way from a profile to sRGB; None where it is broken, of another space, or sRGB itself."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(
            source,
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE,
        )
        return None if mode == "RGB" and _changes_nothing(transform) else transform
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Tell whether a transform maps colours all over the cube to themselves, as profiles called sRGB do."""
    levels = np.linspace(0, 255, STEPS).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(STEPS, -1, 3)
    mapped = ImageCms.applyTransform(Image.fromarray(cube), transform)
    return mapped is not None and np.abs(np.asarray(mapped).astype(int) - cube).max() <= SAME
