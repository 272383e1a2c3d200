"""Restore an image where its mask is white.

python docs/examples/restore.py photo.png mask.png restored.png
"""

import sys

from PIL import Image, ImageOps

from hmaca_arch.inference import load_restorer


def show(done: int, total: int) -> None:
    """Print how many tiles are done. An exception here would cancel."""
    print(f'{done} of {total} tiles')


photo, mask, output = sys.argv[1:4]
restorer = load_restorer()  # the weights that ship; load_restorer('net_g_latest.pth') for your own
image = ImageOps.exif_transpose(Image.open(photo)).convert('RGB')
restored, regions, notes = restorer.run(image, Image.open(mask).convert('L'), progress=show)
restored.save(output)
for note in notes:
    print(note)
print(f'{output}: {len(regions)} region(s) restored')
