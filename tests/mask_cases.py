"""What `basicsr restore` does with masks of every source, for files that are restored in parts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from picture_writers import saved

from hmaca_arch.files.image_files import read_image


def check_masks(
    run: Callable[..., tuple[int, str]],
    put: Callable[..., None],
    ending: str,
    pixels: np.ndarray,
    inside: tuple[slice, slice],
    box: str,
) -> None:
    """Restore files of that ending in the current folder; run and put are the test's own."""
    put(f'in{ending}', pixels)
    mask = np.zeros(pixels.shape[:2], np.uint8)
    mask[inside] = 255
    Path('mask.png').write_bytes(saved(mask))
    Path('empty.png').write_bytes(saved(np.zeros_like(mask)))
    Path('small.png').write_bytes(saved(mask[1:]))
    assert run('-i', f'in{ending}', '-o', f'a{ending}', '-m', 'mask.png') == (0, '')
    assert run('-i', f'in{ending}', '-o', f'b{ending}', '--box', box) == (0, '')
    assert Path(f'a{ending}').read_bytes() == Path(f'b{ending}').read_bytes()
    code, err = run('-i', f'in{ending}', '-o', f'c{ending}', '-m', 'empty.png')
    assert code == 0 and 'copied as it is' in err
    assert Path(f'c{ending}').read_bytes() == Path(f'in{ending}').read_bytes()
    code, err = run('-i', f'in{ending}', '-o', f'd{ending}', '-m', 'small.png')
    assert code == 1 and 'expected equal sizes' in err
    painted = pixels.copy()
    painted[inside] = 255, 0, 255
    put(f'painted{ending}', painted)
    from_colour = ('--mask-from', 'color:#ff00ff')
    assert run('-i', f'painted{ending}', '-o', f'e{ending}', *from_colour)[0] == 0
    assert (read_image(f'e{ending}').pixels[inside] != painted[inside]).any()
