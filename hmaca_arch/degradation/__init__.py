"""The degradation as an equation: what was done to a region, and the images that agree with it.

x is the sought image, y the given one, R the masked pixels. Outside R, x = y. Inside R a
degradation says D(x) = y:

* pixelization: the mean of x over a block (pool `mean`), or over its middle pixels (`centre`), is
  the block's colour;
* Gaussian blur: y = A x, with the kernel cut at 4 sigma and mirrored at the image's edge
  (REFLECT_101);
* any other known kernel, such as motion or a disc: y = A x, with the same edges;
* Gaussian noise: y = x + n e.

`solve(z, y, mask, degradations, w)` returns the image nearest to an estimate z that agrees with the
equation, in closed form or by conjugate gradients. w is the equation's noise variance divided by
the variance of z's error: a large w trusts z.

Sources: Zhang et al., DPIR (TPAMI 2021) and USRNet (CVPR 2020) for the data step; Rasmussen and
Williams for `start`'s prior.
"""

from hmaca_arch.degradation.blocks import Blocks, find_blocks, solve_blocks
from hmaca_arch.degradation.blur import Blur, blur_matrix, conjugate_gradients, find_blur
from hmaca_arch.degradation.custom import register_degradation
from hmaca_arch.degradation.description import (
    ANCHORS,
    FIELDS,
    FORM,
    KINDS,
    POOLS,
    UNKNOWN,
    Degradation,
    degradations_of,
    regions,
)
from hmaca_arch.degradation.equations import Equations, solve
from hmaca_arch.degradation.kernels import Kernel
from hmaca_arch.degradation.start import Prior, deblurred, smoothest

__all__ = [
    'ANCHORS',
    'FIELDS',
    'FORM',
    'KINDS',
    'POOLS',
    'UNKNOWN',
    'Blocks',
    'Blur',
    'Degradation',
    'Equations',
    'Kernel',
    'Prior',
    'blur_matrix',
    'conjugate_gradients',
    'deblurred',
    'degradations_of',
    'find_blocks',
    'find_blur',
    'regions',
    'register_degradation',
    'smoothest',
    'solve',
    'solve_blocks',
]
