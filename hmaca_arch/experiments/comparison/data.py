"""The triplets that methods are compared on, and what is known of how they were degraded."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from basicsr.data import build_dataset
from torch.utils.data import Dataset

from hmaca_arch.config.schema import PROTOCOLS
from hmaca_arch.experiments.classical import known_of

KINDS = ('lq', 'gt', 'mask')


@dataclass(frozen=True)
class Data:
    """Triplets.

    folder: of lq/, gt/ and mask/, or of lq.lmdb, gt.lmdb and mask.lmdb. count: how many of them,
    the first by name; None: all. soft: masks keep their gray values. paste: what the composite PSNR
    pastes outside the region, lq or gt. known: {name: what `known_of` says of its degradation}; ''
    stands for every picture that is not named.
    """

    folder: str
    count: int | None
    soft: bool
    paste: str
    known: Mapping[str, Mapping[str, Any]]

    def dataset(self) -> Dataset:
        """Opened anew: a process opens its own.

        Raises:
            FileNotFoundError, ValueError: there are no such triplets.
        """
        folder = Path(self.folder)
        packed = (folder / 'lq.lmdb').is_dir() and not (folder / 'lq').is_dir()
        if not packed and not (folder / 'lq').is_dir():
            below = next(
                (split for split in ('test', 'val', 'train') if (folder / split / 'lq').is_dir()),
                None,
            )
            hint = (
                f'; {folder / below} does' if below else '; basicsr make-dataset makes such folders'
            )
            raise FileNotFoundError(
                f'{folder} does not hold lq/, gt/ and mask/, nor lq.lmdb, gt.lmdb and mask.lmdb{hint}'
            )
        options = {
            f'dataroot_{kind}': str(folder / (f'{kind}.lmdb' if packed else kind)) for kind in KINDS
        }
        backend = {'type': 'lmdb' if packed else 'disk'}
        common = {
            'name': folder.name,
            'type': 'MaskedPairedImageDataset',
            'phase': 'test',
            'soft_mask': self.soft,
        }
        dataset = build_dataset(common | options | {'io_backend': backend})
        dataset.names = dataset.names[: self.count]
        return dataset

    def known_of(self, name: str) -> Mapping[str, Any]:
        """What is known of a picture's degradation; nothing: {}."""
        return self.known.get(name, self.known.get('', {}))

    def degradations(self, names: list[str]) -> set[str | None]:
        """The degradations of these pictures; None for those of which nothing is known."""
        return {self.known_of(name).get('type') for name in names}


def find_data(
    folder: str,
    *,
    count: int | None = None,
    soft: bool = False,
    paste: str | None = None,
    told: Mapping[str, Any] | None = None,
) -> Data:
    """The triplets of a folder.

    What is known of the degradation, and which protocol it was, is read from the manifest of
    `basicsr make-dataset` where there is one.

    Args:
        folder, count, soft, paste: as in `Data`; without `paste`, what suits the manifest's
            protocol, or lq.
        told: the same degradation for all pictures, {'type': 'blur', 'sigma': 2.0} for example,
            instead of the manifest's.

    Raises:
        ValueError: the manifest is damaged.
    """
    manifest, known, pastes = Path(folder) / 'manifest.jsonl', {}, set()
    for number, line in enumerate(
        manifest.read_text(encoding='utf-8').splitlines() if manifest.is_file() else (), 1
    ):
        try:
            record = json.loads(line)
            pastes.add(PROTOCOLS[record['protocol']])
            if (
                len(record['degradations']) == 1
            ):  # a method that undoes one of several would be of no use
                known[record['name']] = known_of(
                    record['degradations'][0], record['protocol'], record['region']['side']
                )
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f'{manifest}, line {number}: not a record of basicsr make-dataset ({error!r})'
            ) from None
    if told:
        known = {'': {'centred': False, **told}}
    return Data(
        str(folder), count, soft, paste or (pastes.pop() if len(pastes) == 1 else 'lq'), known
    )
