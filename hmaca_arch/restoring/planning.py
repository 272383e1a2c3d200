"""Decide which image is restored with which mask and written where, before anything is."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hmaca_arch.degradation import Degradation
from hmaca_arch.files.formats import BY_ENDING, FORMATS
from hmaca_arch.files.image_files import check_output, is_own_output
from hmaca_arch.files.jpeg_markers import obstacle_of_file
from hmaca_arch.files.opening import MAX_PIXELS
from hmaca_arch.restoring.folders import REFUSED, SKIPPED, Found, Left, find_images, real_path
from hmaca_arch.restoring.mask_sources import MaskSource
from hmaca_arch.restoring.matching import Masks, normal

SAME = 'same'


@dataclass(frozen=True)
class Request:
    """What `basicsr restore` is asked for.

    Attributes:
        inputs: files, folders and patterns.
        output: a file, for one image, or a folder.
        masks: where masks come from.
        mask: a mask for all images, or a folder of masks; None if they come from the images.
        mask_suffix: see `Masks`.
        format: a key of FORMATS, 'same' as each input, or None: as the output's ending says, or
            PNG.
        quality: of lossy formats, 1 to 100; None: 95.
        recursive: go into subfolders and keep the tree.
        copy_unmasked: copy images that have no mask, instead of refusing them.
        overwrite: replace files that exist.
        verify: read every written file with another library and compare it with the input.
        report: a file for the report, or None.
        max_pixels: of an image.
        degradation: as `Restorer.restore` takes it.
        settings: keywords of `Restorer.run`: context, feather, soft_mask, batch, tile.
    """

    inputs: Sequence[Path]
    output: Path
    masks: MaskSource
    mask: Path | None = None
    mask_suffix: str | None = None
    format: str | None = None
    quality: int | None = None
    recursive: bool = False
    copy_unmasked: bool = False
    overwrite: bool = False
    verify: bool = False
    report: Path | None = None
    max_pixels: int = MAX_PIXELS
    degradation: str | Degradation = 'auto'
    settings: dict = field(default_factory=dict)


class Job(NamedTuple):
    """One image to restore.

    Attributes:
        image: the file.
        mask: its file, None if the mask comes from the image itself.
        output: the file to write.
        copied: the image has no mask and is copied.
        notes: what the user should know, a sentence each.
    """

    image: Path
    mask: Path | None
    output: Path
    copied: bool = False
    notes: tuple[str, ...] = ()


class Plan(NamedTuple):
    """All jobs, in order, and what is left out, with reasons."""

    jobs: list[Job]
    left: list[Left]


def make_plan(request: Request) -> Plan:
    """Find images and masks, and decide where results go.

    Raises:
        FileNotFoundError, ValueError: a mistake that concerns everything.
    """
    if request.mask is not None and not request.mask.exists():
        raise FileNotFoundError(f'--mask: {request.mask.absolute()} does not exist')
    in_folder = request.mask is not None and request.mask.is_dir()
    if request.mask_suffix is not None and not in_folder:
        raise ValueError('--mask-suffix: there is no folder of masks; expected --mask FOLDER')
    images, left = find_images(request.inputs, request.recursive, _apart(request))
    single = _single(request, len(images))
    matched, refused = _match(request, images, left)
    jobs = []
    for image in images:
        if image.path in refused:
            left.append(Left(image.path, REFUSED, refused[image.path]))
        elif image.path in matched:
            mask, copied = matched[image.path]
            job = Job(image.path, mask, single or _output(request, image, copied), copied)
            jobs.append(_as_png(job, request))
    jobs, clashes = _without_clashes(jobs, {image.path for image in images})
    if not jobs and not left and not clashes:
        raise ValueError(f'--input: {request.inputs[0].absolute()} holds no images')
    return Plan(jobs, [*left, *clashes])


def _single(request: Request, count: int) -> Path | None:
    """Return the output's file, where it is one and not a folder.

    Raises:
        ValueError: several images cannot go to one file, or files of that kind cannot be written.
    """
    output = request.output
    if output.is_file() and not output.suffix:
        raise ValueError(f'--output: {output} is a file; expected a folder')
    if output.is_dir() or not output.suffix:
        return None
    if count != 1 or request.inputs[0].is_dir():
        if output.is_file() or output.suffix.lower() in BY_ENDING:
            raise ValueError(
                f'--output: {output} is one file; expected a folder for several images'
            )
        return None
    if request.format not in (None, SAME, BY_ENDING.get(output.suffix.lower())):
        raise ValueError(f'--format: {request.format} does not fit the ending of {output}')
    check_output(output)
    return output


def _apart(request: Request) -> list[tuple[Path, str]]:
    """Return the folders that inputs may hold and that are none."""
    apart = [(request.output, "the output's folder")]
    if request.mask is not None:
        apart.append((request.mask, 'the folder of masks'))
    named = {real_path(path) for path in request.inputs if path.exists()}
    return [(path, reason) for path, reason in apart if real_path(path) not in named]


def _match(
    request: Request, images: list[Found], left: list[Left]
) -> tuple[dict[Path, tuple[Path | None, bool]], dict[Path, str]]:
    """Find each image's mask; takes masks out of the images.

    Returns:
        {image: (mask, copied)} and {image: why it has none}.
    """
    if request.mask is None:
        return {image.path: (None, False) for image in images}, {}
    if not request.mask.is_dir():
        own = real_path(request.mask)
        left += [
            Left(one.path, SKIPPED, 'the mask') for one in images if real_path(one.path) == own
        ]
        others = [one for one in images if real_path(one.path) != own]
        if images and not others:
            raise ValueError(f'--mask: {request.mask} is the image itself; expected another file')
        images[:] = others
        return {image.path: (request.mask, False) for image in images}, {}
    masks = Masks(request.mask, images, request.mask_suffix)
    matched: dict[Path, tuple[Path | None, bool]] = {}
    refused: dict[Path, str] = {}
    for image in images:
        try:
            matched[image.path] = (masks.of(image), False)
        except ValueError as error:
            refused[image.path] = str(error)
    used = {real_path(mask): image for mask, image in masks.used.items()}
    for image in list(images):
        owner = used.get(real_path(image.path))
        if owner is not None:
            images.remove(image)
            left.append(Left(image.path, SKIPPED, f'the mask of {owner.name}'))
    left += [Left(path, SKIPPED, 'a mask that no image uses') for path in masks.unused()]
    if request.copy_unmasked:
        unmasked = [path for path, why in refused.items() if why.startswith('no mask')]
        matched |= dict.fromkeys(unmasked, (None, True))
        refused = {path: why for path, why in refused.items() if path not in unmasked}
    return matched, refused


def _output(request: Request, image: Found, copied: bool) -> Path:
    """Return where an image's result goes, below the output's folder."""
    ending = image.path.suffix.lower()
    if copied or (request.format == SAME and ending in BY_ENDING):
        name = image.path.name
    else:
        kind = request.format if request.format in FORMATS else 'png'
        name = image.path.stem + FORMATS[kind].endings[0]
    return request.output / image.below / name


def _as_png(job: Job, request: Request) -> Job:
    """Write PNG instead, where a JPEG cannot stay one without being compressed twice.

    A quality asks for compressing it again.
    """
    to_jpeg = BY_ENDING.get(job.output.suffix.lower()) == 'jpg'
    if not to_jpeg or job.copied or request.quality is not None:
        return job
    why = obstacle_of_file(job.image)
    if why is None:
        return job
    png = job.output.with_suffix('.png')
    note = (
        f'{why}, so that as JPEG all of it would be compressed again; written as {png.name} '
        '(--quality N writes JPEG)'
    )
    return job._replace(output=png, notes=(note,))


def _same_case(path: Path) -> Path:
    return Path(normal(str(real_path(path))))


def ignores_case(jobs: list[Job]) -> bool:
    """Tell whether outputs differ in case alone, where `A.png` and `a.png` are one file."""
    exact = {real_path(job.output) for job in jobs}
    if len({_same_case(path) for path in exact}) == len(exact):
        return False
    folder = next(path for path in real_path(jobs[0].output).parents if path.is_dir())
    try:
        with tempfile.NamedTemporaryFile(prefix='case', dir=folder) as file:
            return Path(file.name).with_name(Path(file.name).name.upper()).exists()
    except OSError:  # writing there will fail, and say so
        return False


def _without_clashes(jobs: list[Job], images: set[Path]) -> tuple[list[Job], list[Left]]:
    """Leave out jobs that would write over each other, over other images or over masks.

    An output of an earlier run is not taken for an image, if its own image is there as well.

    Raises:
        ValueError: the output is the mask.
    """
    inputs = {real_path(path): path for path in images}
    place = _same_case if ignores_case(jobs) else Path.resolve
    count = Counter(place(job.output) for job in jobs)
    earlier = {
        real_path(job.output)
        for job in jobs
        if real_path(job.output) in inputs
        and real_path(job.output) != real_path(job.image)
        and is_own_output(job.output)
    }
    kept, left = [], []
    for job in jobs:
        output = real_path(job.output)
        if job.mask is not None and output == real_path(job.mask):
            raise ValueError(f'--output: {job.output} is the mask; expected another file')
        if real_path(job.image) in earlier:
            left.append(Left(job.image, SKIPPED, 'an output of an earlier run'))
        elif count[place(job.output)] - (output in earlier) > 1:
            why = f'{job.output} is the output of another image too; rename one, or --format same'
            left.append(Left(job.image, REFUSED, why))
        elif output in inputs and output != real_path(job.image) and output not in earlier:
            why = f'its output {job.output} is another image of the input; choose another folder'
            left.append(Left(job.image, REFUSED, why))
        else:
            kept.append(job)
    return kept, left
