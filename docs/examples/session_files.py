"""Make the files that the commands of docs/sessions.md restore, of photographs in scikit-image.

python docs/examples/session_files.py FOLDER
"""

import sys
import unicodedata
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pillow_heif
import tifffile
from PIL import Image, ImageCms
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


pillow_heif.register_heif_opener()
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

# The cat in other formats, for one mask: colours that have to be converted, and what is not read.
profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
exif = Image.Exif()
exif[0x010F] = 'a camera'  # who made it
for kind in ('avif', 'bmp', 'gif', 'heic', 'jfif', 'jpe', 'webp'):
    save(f'kinds/{kind}.{kind}', cat, quality=95)
save('kinds/png.png', cat, dpi=(300, 300), icc_profile=profile, exif=exif)
Image.fromarray(cat).convert('CMYK').save(folder / 'kinds/cmyk.tif')
lab = Image.fromarray(cat).convert('RGB')
lab = ImageCms.profileToProfile(
    lab, ImageCms.createProfile('sRGB'), ImageCms.createProfile('LAB'), outputMode='LAB'
)
lab.save(folder / 'kinds/lab.tif')
tifffile.imwrite(folder / 'kinds/float.tif', (cat / 255).astype(np.float32))
(folder / 'kinds/jxl.jxl').write_bytes(b'\xff\x0a' + bytes(64))
Image.fromarray(cat).save(
    folder / 'kinds/moving.gif', save_all=True, append_images=[Image.fromarray(255 - cat)]
)

# The cup as JPEG files of every make.
for name, options in {
    'progressive': {'progressive': True},
    '444': {'subsampling': '4:4:4'},
    '422': {'subsampling': '4:2:2'},
}.items():
    save(f'jpegs/{name}.jpg', cup, quality=90, **options)
Image.fromarray(cup).convert('L').save(folder / 'jpegs/gray.jpg', quality=90)
Image.fromarray(cup).convert('CMYK').save(folder / 'jpegs/cmyk.jpg', quality=90)
deep = imagecodecs.jpeg8_encode(cup.astype(np.uint16) * 16, level=90, bitspersample=12)
(folder / 'jpegs/twelve.jpg').write_bytes(deep)
turned = Image.Exif()
turned[0x0112] = 6  # to be turned by a quarter when shown
upright = Image.fromarray(cup).transpose(Image.Transpose.ROTATE_90)
upright.save(folder / 'jpegs/turned.jpg', quality=90, exif=turned)

# A scan with dust, and what names, alpha and depth masks and images have.
page = np.repeat(np.repeat(data.page(), 8, axis=0), 8, axis=1)
dust = np.zeros(page.shape, np.uint8)
for y, x in zip(rng.integers(8, page.shape[0] - 8, 300), rng.integers(8, page.shape[1] - 8, 300)):
    dust[y - 2 : y + 3, x - 2 : x + 3] = 255
save('scan.png', pixels.noise(page[..., None], dust[..., None] > 0, rng, 40)[..., 0])
save('dust.png', dust)
save('names/Café.png', cat)  # composed, as Linux and Windows write it
save('names/DOG.PNG', cat)
save('names/hare.png', cat)
for name in (unicodedata.normalize('NFD', 'Café'), 'dog_mask', 'hare_mask001'):
    save(f'name_masks/{name}.png', face)
save('other_masks/hare-selection.png', cv2.GaussianBlur(face, (0, 0), 3))
gray = Image.fromarray(cat[..., 0].astype(np.uint16) * 257)
gray.save(folder / 'gray16.png', transparency=25700)
premultiplied = np.dstack([cat, np.full(cat.shape[:2], 128, np.uint8)])
premultiplied[..., :3] = premultiplied[..., :3] // 2
tifffile.imwrite(
    folder / 'premultiplied.tif',
    premultiplied.astype(np.uint16) * 257,
    photometric='rgb',
    extrasamples=['assocalpha'],
)
damaged = bytearray((folder / 'kinds/png.png').read_bytes())
damaged[damaged.index(b'iCCP') + 8] ^= 1  # a profile with a wrong checksum
(folder / 'bad_checksum.png').write_bytes(damaged)
