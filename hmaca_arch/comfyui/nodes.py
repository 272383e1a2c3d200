"""The nodes: classes with the attributes that ComfyUI's documentation of custom nodes asks for.

ComfyUI's own modules are imported when a node is used, so that this file can be read without it.
"""

import logging
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hmaca_arch.comfyui.batches import as_stored, pairs, with_changes
from hmaca_arch.degradation import Degradation
from hmaca_arch.inference import SHIPPED_WEIGHTS, Restorer
from hmaca_arch.networks.loading import load_network
from hmaca_arch.restoring.regions import Box, marked_box
from hmaca_arch.restoring.telling import look, surroundings, told_of

logger = logging.getLogger('hmaca_arch')

CATEGORY = 'image/HMACA'
FOLDER = 'hmaca'  # below ComfyUI's models/, and the key in its extra_model_paths.yaml
SHIPPED = 'shipped weights'
STEPS = 1000  # of the progress bar, for each image
# Bytes that are freed for the network's work. A batch of 4 tiles through HMACA+ of the paper's
# size took 0.93 GiB on a CPU, and a batch is 8 on a GPU.
MEMORY = 2 * 2**30
MASK = 'White is restored, everything else stays as it is. Of the size of the image.'


def of_comfyui(name: str) -> Any:
    """Import a module of ComfyUI."""
    return import_module(name)


def checkpoints() -> list[str]:
    """List the checkpoints in ComfyUI's `models/hmaca`."""
    folder_paths = of_comfyui('folder_paths')
    folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))
    return [name for name in folder_paths.get_filename_list(FOLDER) if name.endswith('.pth')]


def path_of(name: str) -> Path:
    """Return the file of a name that the loader offers."""
    if name == SHIPPED:
        return SHIPPED_WEIGHTS
    return Path(of_comfyui('folder_paths').get_full_path_or_raise(FOLDER, name))


class LoadModel:
    """Load a checkpoint into ComfyUI's care, which decides where its weights are."""

    CATEGORY = CATEGORY
    DESCRIPTION = 'Load the weights that restore regions.'
    RETURN_TYPES = ('HMACA_MODEL',)
    RETURN_NAMES = ('model',)
    FUNCTION = 'load'

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """Describe the inputs."""
        tooltip = f'The shipped weights, or a checkpoint (.pth) in models/{FOLDER}.'
        return {'required': {'weights': ([SHIPPED, *checkpoints()], {'tooltip': tooltip})}}

    @classmethod
    def IS_CHANGED(cls, weights: str) -> int:
        """Return the file's time, so that a checkpoint that was trained further is read again."""
        return path_of(weights).stat().st_mtime_ns

    def load(self, weights: str) -> tuple[Any]:
        """Return a ModelPatcher around the network.

        Raises:
            FileNotFoundError, ValueError: in one line.
        """
        management = of_comfyui('comfy.model_management')
        return (
            of_comfyui('comfy.model_patcher').ModelPatcher(
                load_network(path_of(weights)),
                load_device=management.get_torch_device(),
                offload_device=management.unet_offload_device(),
            ),
        )


class RestoreRegion:
    """Restore the masked region of each image of a batch."""

    CATEGORY = CATEGORY
    DESCRIPTION = 'Restore the masked region of an image. Every other pixel stays as it is.'
    RETURN_TYPES = ('IMAGE', 'STRING')
    RETURN_NAMES = ('image', 'notes')
    OUTPUT_TOOLTIPS = ('The restored images.', 'What is doubtful, a line each. Often empty.')
    FUNCTION = 'restore'

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """Describe the inputs."""
        degradation = (
            'What was done to the region: auto, pix:8:mean, pix:8:centre@3,5, blur:1.5, noise:15, '
            'each with +jpeg:75 after it if it was saved so; none; unknown.'
        )
        feather = 'Pixels over which the restored region fades in, inside the mask.'
        soft = 'Blend by the gray values of the mask. Otherwise what is above the middle is white.'
        return {
            'required': {
                'model': ('HMACA_MODEL', {'tooltip': 'From Load HMACA Model.'}),
                'image': ('IMAGE', {'tooltip': 'With the degraded pixels: do not blank them.'}),
                'mask': ('MASK', {'tooltip': MASK}),
                'degradation': ('STRING', {'default': 'auto', 'tooltip': degradation}),
            },
            'optional': {
                'feather': ('INT', {'default': 0, 'min': 0, 'max': 256, 'tooltip': feather}),
                'soft_mask': ('BOOLEAN', {'default': False, 'tooltip': soft}),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, degradation: str | None = None) -> bool | str:
        """Refuse a text that is no degradation before anything runs; None comes from a node."""
        try:
            check_degradation(degradation or 'auto')
        except ValueError as error:
            return f'{error}; or auto'
        return True

    def restore(
        self,
        model: Any,
        image: Tensor,
        mask: Tensor,
        degradation: str = 'auto',
        feather: int = 0,
        soft_mask: bool = False,
    ) -> tuple[Tensor, str]:
        """Restore on the device of ComfyUI's choice.

        Args:
            model: a ModelPatcher, from LoadModel.
            image: (b, h, w, c).
            mask: (b, h, w), (1, h, w) or (h, w).
            degradation: see `Restorer.run`.
            feather: see `Restorer.run`.
            soft_mask: see `Restorer.run`.

        Returns:
            (b, h, w, c), equal to `image` outside the mask; and the notes, a line each.

        Raises:
            ValueError: in one line, for what cannot be restored.
        """
        given = list(pairs(image, mask))
        check_degradation(degradation)  # it may come from another node
        of_comfyui('comfy.model_management').load_models_gpu([model], memory_required=MEMORY)
        restorer = Restorer(model.model, model.load_device)
        bar = Bar(len(given))
        results, notes = [], []
        for number, (one, its_mask) in enumerate(given, start=1):
            before = as_stored(one)
            after, _, found = restorer.run(
                before.movedim(-1, 0),
                its_mask,
                degradation,
                bar.update,
                feather=feather,
                soft_mask=soft_mask,
            )
            bar.next()
            results.append(with_changes(one, before, after.movedim(0, -1)))
            prefix = f'image {number}: ' if len(given) > 1 else ''
            notes += [prefix + note for note in found]
        for note in notes:
            logger.warning(note)
        return torch.stack(results), '\n'.join(notes)


class MeasureDegradation:
    """Measure what was done to the masked region of each image of a batch."""

    CATEGORY = CATEGORY
    DESCRIPTION = 'Measure what was done to the masked region: pixelized, blurred, noisy, nothing.'
    RETURN_TYPES = ('STRING', 'STRING', 'MASK')
    RETURN_NAMES = ('degradation', 'report', 'degraded')
    OUTPUT_TOOLTIPS = (
        'For Restore Region: what holds of all regions, or unknown if they differ.',
        'Each region in words.',
        'The part of the mask that is degraded.',
    )
    FUNCTION = 'measure'
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """Describe the inputs."""
        return {'required': {'image': ('IMAGE',), 'mask': ('MASK', {'tooltip': MASK})}}

    def measure(self, image: Tensor, mask: Tensor) -> dict:
        """Measure each image.

        Args:
            image: (b, h, w, c).
            mask: (b, h, w), (1, h, w) or (h, w).

        Returns:
            The outputs, and the report for the page.

        Raises:
            ValueError: sizes do not agree.
        """
        given = list(pairs(image, mask))
        found = [_measured(one, its_mask) for one, its_mask in given]
        kinds = {degradation for degradation, _, _ in found}
        common = kinds.pop() if len(kinds) == 1 else 'unknown'
        lines = []
        for number, (_, words, _) in enumerate(found, start=1):
            head = f'image {number}: ' if len(given) > 1 else ''
            lines += [head + line for line in words or ['the mask is empty (black)']]
        report = '\n'.join(lines)
        degraded = torch.stack([area for *_, area in found])
        return {'ui': {'text': [report]}, 'result': (common, report, degraded)}


def _measured(image: Tensor, mask: Tensor) -> tuple[str, list[str], Tensor]:
    """Return what holds of all regions of one image, the words, and the degraded mask (h, w)."""
    masked = (mask > 0.5).cpu().numpy()
    box = surroundings(marked_box(masked), *masked.shape)
    found = look(as_stored(image).cpu().numpy()[box.area], masked[box.area], box)
    degraded = torch.zeros_like(mask)
    degraded[box.area] = torch.from_numpy(found.mask).to(degraded)
    whole = Box(0, 0, *masked.shape)
    degradation = told_of(whole, found.told) if found.told else Degradation('none')
    return str(degradation), found.notes, degraded


class Bar:
    """ComfyUI's progress bar over the tiles of each image, which also heeds its Cancel."""

    def __init__(self, images: int) -> None:
        self.bar = of_comfyui('comfy.utils').ProgressBar(STEPS * images)
        self.management = of_comfyui('comfy.model_management')
        self.done = 0

    def update(self, done: int, total: int) -> None:
        """Show that so many tiles of the present image are done; or raise what Cancel raises."""
        self.management.throw_exception_if_processing_interrupted()
        self.bar.update_absolute(self.done + STEPS * done // max(total, 1))

    def next(self) -> None:
        """Go on to the next image."""
        self.done += STEPS


def check_degradation(text: str) -> None:
    """Raise a ValueError for a text that is neither a degradation nor `auto`."""
    if text != 'auto':
        Degradation.parse(text)


NODE_CLASS_MAPPINGS = {
    'HMACALoadModel': LoadModel,
    'HMACARestoreRegion': RestoreRegion,
    'HMACAMeasureDegradation': MeasureDegradation,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    'HMACALoadModel': 'Load HMACA Model',
    'HMACARestoreRegion': 'Restore Region (HMACA)',
    'HMACAMeasureDegradation': 'Measure Degradation (HMACA)',
}
