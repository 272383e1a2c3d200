"""Make a data set of (lq, mask, gt) triplets from clean images: `basicsr make-dataset`.

It writes OUTPUT/{lq,mask,gt}/NAME.png (or the same below OUTPUT/train and OUTPUT/test),
OUTPUT/settings.json and OUTPUT/manifest.jsonl, one line an image. An image's randomness comes from
the seed and its name alone. Neither the number of workers nor the other images matter, and data
sets of different degradations have the same regions. The same command continues an interrupted run.
"""

from pathlib import Path
from typing import Any

from datasets_ext.inputs import find_images, find_twins, hold_out, without
from datasets_ext.parallel import Workers
from datasets_ext.recipe import Recipe
from datasets_ext.recipe_settings import is_whole
from datasets_ext.triplets import make_split
from hmaca_arch.config.schema import PROTOCOLS
from hmaca_arch.files.locks import only_here
from hmaca_arch.files.outputs import output_folder
from hmaca_arch.messages import printable, say


def make_dataset(
    source: str | Path,
    output: str | Path,
    *,
    seed: int = 0,
    exclude: tuple[str, ...] = (),
    every: int = 0,
    workers: int = 1,
    overwrite: bool = False,
    quiet: bool = False,
    **recipe: Any,
) -> dict[str, dict[str, Any]]:
    """Make a data set from a folder or zip file of images, in OUTPUT or OUTPUT/{train,test}.

    Args:
        source: the images.
        output: the folder of the data set.
        seed: 0 or more.
        exclude: images to leave out, by stem or file name.
        every: hold out every such image by name for testing, where the source is not split; 0: do
            not split.
        workers: number of processes.
        overwrite: remove what an earlier run made there.
        quiet: show no progress bar.
        recipe: arguments of `Recipe`.

    Returns:
        For each split ('' if there are none) what `make_split` returns, and 'left_out': {name: the
        test image it is identical to}.

    Raises:
        FileNotFoundError, ValueError: in one line.
    """
    how = Recipe(**recipe)
    if not is_whole(seed) or seed < 0:
        raise ValueError(f'seed is {seed!r}, expected a whole number, 0 or more')
    splits = without(find_images(source), exclude, source)
    if every:
        splits = hold_out(splits, every)
    results = {}
    with Workers(workers) as pool:
        twins = find_twins(splits['train'], splits['test'], pool) if 'train' in splits else {}
        for split, images in splits.items():
            left_out = twins if split == 'train' else {}
            images = [image for image in images if image.name not in left_out]
            if not images:
                raise ValueError(
                    f'{source}: nothing is left of {split or "the images"} to make triplets from'
                )
            folder = Path(output) / split
            output_folder(folder)
            with only_here(folder):
                result = make_split(images, folder, how, seed, pool, overwrite, quiet)
            results[split] = result | {'left_out': left_out}
    return results


def report(results: dict[str, dict[str, Any]], output: str | Path, protocol: str) -> None:
    """Print what `make_dataset` returned."""
    for split, result in results.items():
        label, folder, count = printable(split or output), Path(output) / split, result['count']
        for name, twin in result['left_out'].items():
            say(
                f'{split}: left out {printable(name)}, '
                f'which is pixel for pixel the test image {printable(twin)}'
            )
        kept = f'({result["kept"]} were there already)'
        say(f'{label}: {count} triplets in {printable(folder)} {kept}')
        if result['psnr'] is not None:
            exact = f', {result["exact"]} of {count} exact' if result['exact'] else ''
            say(
                f'{label}: unrestored input, composite PSNR {result["psnr"]:.2f} dB '
                f'(outside pasted from {PROTOCOLS[protocol]}){exact}'
            )
