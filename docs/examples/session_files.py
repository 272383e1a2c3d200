"""Make the files that the commands of docs/sessions.md restore, of photographs in scikit-image.

python docs/examples/session_files.py FOLDER
"""

import sys
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from skimage import data

from hmaca_arch.degradation import pixels


def rectangle(image: np.ndarray, x: int, y: int, width: int, height: int) -> np.ndarray:
    """Return a mask (h, w) uint8 of an image, white in a rectangle."""
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[y : y + height, x : x + width] = 255
    return mask


def save(name: str, image: np.ndarray, **options: object) -> None:
    """Write an image into the folder, and make the folders above it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)


folder = Path(sys.argv[1])
rng = np.random.default_rng(0)

cat = data.chelsea()
face = rectangle(cat, 280, 110, 64, 48)
cat = pixels.pixelate(cat, face[..., None] > 0, 6, 'mean')
save('photos/cat.png', cat)
save('masks/cat.png', face)
save('inverted.png', 255 - face)
save('cut.png', np.dstack([cat, 255 - face]))  # transparent where it is to be restored
save('marked.png', np.where(face[..., None] > 0, np.uint8([255, 0, 255]), cat))

cup = data.coffee()
inside = rectangle(cup, 280, 100, 80, 64)
cup = pixels.noise(cup, inside[..., None] > 0, rng, 20)
exif = Image.Exif()
exif[0x010E] = 'a cup'  # its description
save('photos/cup.jpg', cup, quality=90, subsampling='4:2:0', exif=exif)
save('masks/cup_mask.png', inside)

rocket = data.rocket()
top = rectangle(rocket, 290, 170, 64, 80)
save('photos/trip/rocket.webp', pixels.noise(rocket, top[..., None] > 0, rng, 20), lossless=True)
save('masks/trip/rocket.png', top)

coins = np.repeat(data.coins()[..., None], 3, axis=2)
coin = rectangle(coins, 100, 80, 48, 48)
coins = pixels.blur(coins, coin[..., None] > 0, 2)[..., 0]
tifffile.imwrite(
    folder / 'photos/trip/coins.tif',
    coins.astype(np.uint16) * 257,
    photometric='minisblack',
    compression='zlib',
    rowsperstrip=16,
    software='a scanner',
    metadata=None,
)
save('masks/trip/coins.png', coin)

cut_short = (folder / 'photos/cat.png').read_bytes()[:60000]
(folder / 'photos/trip/broken.png').write_bytes(cut_short)
save('masks/trip/broken.png', face)
(folder / 'photos/trip/DSC_1.NEF').write_bytes(b'II*\0' + bytes(64))
(folder / 'photos/trip/notes.txt').write_text('a list', encoding='utf-8')

for number in range(3):
    frame = data.coffee()[40:240, 200 + 4 * number : 460 + 4 * number]
    logo = rectangle(frame, 90, 70, 48, 40)
    save(f'frames/{number + 1:04}.png', pixels.pixelate(frame, logo[..., None] > 0, 6, 'mean'))
save('logo.png', logo)
