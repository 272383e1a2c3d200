from typing import NamedTuple
import numpy as np
from hmaca_arch.degradation import Degradation, regions
from .blocks import exact_grid

class Measured(NamedTuple):
    degradation: Degradation
    confidence: float
    area: np.ndarray
    words: str

def measure(image, mask, jpeg=None):
    g = exact_grid(image, mask)
    if g is None: return [Measured(Degradation('none'),.5,mask,'')]
    return [Measured(Degradation('pix',block=g.block,anchor=('offset','offset'),offset=g.offset),.5,g.area,'')]
