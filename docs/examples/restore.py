"""Restore an image where its mask is white.

python docs/examples/restore.py photo.png mask.png restored.png
"""

import sys

import numpy as np
from PIL import Image

from hmaca_arch.inference import load_restorer

photo, mask, output = sys.argv[1:4]
restorer = load_restorer()  # the weights that ship; load_restorer('net_g_latest.pth') for your own
image = np.asarray(Image.open(photo).convert('RGB'))
done = restorer.run(image, np.asarray(Image.open(mask).convert('L')))
Image.fromarray(done.picture).save(output)
for note in done.notes:
    print(note)
print(f'{output}: {len(done.regions)} region(s) restored')
