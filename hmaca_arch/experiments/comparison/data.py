"""The triplets that methods are compared on, and their degradations."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_ext.manifest import MANIFEST
from datasets_ext.masked_paired_image_dataset import MaskedPairedImageDataset
from hmaca_arch.config.schema import PROTOCOLS
from hmaca_arch.experiments.classical import parameters_of

KINDS = ('lq', 'gt', 'mask')


@dataclass(frozen=True)
class Data:
    """Triplets to compare methods on.

    Args:
        folder: of lq/, gt/ and mask/, or of lq.lmdb, gt.lmdb and mask.lmdb.
        count: how many of them, the first by name; None: all.
        soft: whether masks keep their gray values.
        paste: what the composite PSNR pastes outside the region, lq or gt.
        degradations: {name: parameters of the image's degradation, see `parameters_of`}; '' stands
            for every image that is not named.
    """

    folder: str
    count: int | None
    soft: bool
    paste: str
    degradations: Mapping[str, Mapping[str, Any]]

    def dataset(self) -> MaskedPairedImageDataset:
        """Open the triplets. Each process needs to open its own.

        Raises:
            FileNotFoundError, ValueError: there are no such triplets.
        """
        folder = Path(self.folder)
        packed = (folder / 'lq.lmdb').is_dir() and not (folder / 'lq').is_dir()
        if not packed and not (folder / 'lq').is_dir():
            splits = [folder / split for split in ('test', 'val', 'train')]
            below = [f'; {split} does' for split in splits if (split / 'lq').is_dir()]
            hint = below[0] if below else '; basicsr make-dataset makes such folders'
            raise FileNotFoundError(
                f'{folder} does not hold lq/, gt/ and mask/, '
                f'nor lq.lmdb, gt.lmdb and mask.lmdb{hint}'
            )
        ending = '.lmdb' if packed else ''
        roots = {f'dataroot_{kind}': str(folder / f'{kind}{ending}') for kind in KINDS}
        options = {
            'name': folder.name,
            'type': 'MaskedPairedImageDataset',
            'phase': 'test',
            'soft_mask': self.soft,
            'io_backend': {'type': 'lmdb' if packed else 'disk'},
        }
        dataset = MaskedPairedImageDataset(options | roots)
        dataset.names = dataset.names[: self.count]
        return dataset

    def parameters_of(self, name: str) -> Mapping[str, Any]:
        """Return the parameters of an image's degradation; {} if it is unknown."""
        return self.degradations.get(name, self.degradations.get('', {}))

    def kinds(self, names: list[str]) -> set[str | None]:
        """Return the kinds of degradation of these images; None for an unknown one."""
        return {self.parameters_of(name).get('type') for name in names}


def find_data(
    folder: str,
    *,
    count: int | None = None,
    soft: bool = False,
    paste: str | None = None,
    degradation: Mapping[str, Any] | None = None,
) -> Data:
    """Find the triplets of a folder, and their degradations.

    Degradations and protocol come from the manifest of `basicsr make-dataset`, if there is one.

    Args:
        folder: as in `Data`.
        count: as in `Data`.
        soft: as in `Data`.
        paste: as in `Data`; None: what suits the manifest's protocol, or lq.
        degradation: the degradation of all images instead of the manifest's, for example
            {'type': 'blur', 'sigma': 2.0}.

    Raises:
        ValueError: the manifest is damaged.
    """
    manifest = Path(folder) / MANIFEST
    lines = manifest.read_text(encoding='utf-8').splitlines() if manifest.is_file() else []
    degradations: dict[str, Mapping[str, Any]] = {}
    pastes = set()
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            protocol, applied = record['protocol'], record['degradations']
            pastes.add(PROTOCOLS[protocol])
            if len(applied) == 1:  # no method undoes several
                side = record['region']['side']
                degradations[record['name']] = parameters_of(applied[0], protocol, side)
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f'{manifest}, line {number}: not a record of basicsr make-dataset ({error!r})'
            ) from None
    if degradation:
        degradations = {'': {'centred': False, **degradation}}
    by_protocol = pastes.pop() if len(pastes) == 1 else 'lq'
    return Data(str(folder), count, soft, paste or by_protocol, degradations)
