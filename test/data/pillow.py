# Makes pillow.bin: what Pillow makes of the images that pillow.ts draws, for every row of pillow.json (width, height,
# side, and what is special about it).
#   python3 test/data/pillow.py        (pip install pillow numpy; made with Pillow 13.0.0)
import json
import os
import numpy as np
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))


def draw(width, height, channels):
    """A disc with hard edges on two ramps and noise, in whole numbers, so that TypeScript draws the same."""
    y, x, c = np.mgrid[:height, :width, :channels].astype(np.uint64)
    noise = (((x * 7919 + y * 104729 + c * 1299709 + 1) * 2654435761) % 2**32) >> 24
    image = np.where(c == 0, x * 255 // width, np.where(c == 1, y * 255 // height, noise)).astype(np.uint8)
    dx, dy = 2 * x.astype(int) + 1 - width, 2 * y.astype(int) + 1 - height
    inside = (dx * dx + dy * dy) * 16 < min(width, height) ** 2 * 9
    colour = np.array([255, 0, 30, 255][:channels], np.uint8)[c.astype(int)]
    return np.where(inside, colour, image).astype(np.uint8)


def fit(image, side, how):
    width, height = image.size
    scale = (256 / 224 if side > 64 else 1) * max(side / width, side / height)
    scaled = max(side, int(width * scale + 0.5)), max(side, int(height * scale + 0.5))
    left, top = (scaled[0] - side) >> 1, (scaled[1] - side) >> 1
    if scaled != image.size:
        image = image.resize(scaled, how)
    return np.asarray(image.crop((left, top, left + side, top + side)))


with open(os.path.join(HERE, "pillow.bin"), "wb") as out:
    for width, height, side, mode in json.load(open(os.path.join(HERE, "pillow.json"))):
        image = Image.fromarray(draw(width, height, 4 if mode == "RGBA" else 3))
        if mode == "RGBA":
            white = Image.new("RGBA", image.size, "white")
            white.alpha_composite(image)
            image = white.convert("RGB")
        if mode == "L":
            image = image.convert("L")
        how = Image.Resampling.BILINEAR if mode == "bilinear" else Image.Resampling.BICUBIC
        fitted = fit(image, side, how)
        out.write((fitted if mode == "L" else fitted.transpose(2, 0, 1)).tobytes())
