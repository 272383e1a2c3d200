"""Validation and test: measure the unrestored input and the result on every image."""

import hashlib
import inspect
import itertools
import json
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np
from basicsr.metrics import calculate_metric
from basicsr.utils import get_root_logger, tensor2img
from basicsr.utils.registry import METRIC_REGISTRY
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.messages import printable
from hmaca_arch.metrics.summary import ValidationTable
from hmaca_arch.models.resumable_model import ResumableModel
from hmaca_arch.restoring.sheets import strip
from hmaca_arch.training import distributed, stopping

LONGEST_NAME = 255  # bytes, on the usual file systems


class ValidatedImage(NamedTuple):
    """One image of a validation: its number in the data set, name, metrics, and strip to show."""

    number: int
    name: str
    values: dict[tuple[str, str], float]
    strip: np.ndarray | None


class ValidatingModel(ResumableModel):
    """Measures images one by one, on one process or shared among several.

    `test` of a subclass restores the batch that was fed: `output` is what is saved, `raw` what the
    network returned.
    """

    lq: Tensor
    gt: Tensor
    mask: Tensor
    raw: Tensor
    output: Tensor
    names: list[str]

    def __init__(self, opt: dict) -> None:
        self.validated_at: dict[str, int] = {}  # by data set
        self.validated: set[int] = set()  # iterations
        self.validation_time = 0.0  # seconds of all validations
        self.results: dict[str, dict] = {}  # by data set, of its last validation
        super().__init__(opt)

    def nondist_validation(
        self, dataloader: DataLoader, current_iter: int, tb_logger: Any, save_img: bool
    ) -> None:
        """Measure every image, log means, gain and best; a test also writes a CSV."""
        self.validate(dataloader, itertools.count(), current_iter, tb_logger, save_img)

    def dist_validation(
        self, dataloader: DataLoader, current_iter: int, tb_logger: Any, save_img: bool
    ) -> None:
        """Do the same with several processes: each measures a share, the first reports.

        Processes use the unwrapped network: their images differ in number and size.
        """
        indices, share = distributed.share(dataloader)
        self.validate(share, indices, current_iter, tb_logger, save_img)

    def validate(
        self,
        dataloader: DataLoader,
        indices: Iterable[int],
        current_iter: int,
        tb_logger: Any,
        save_img: bool,
    ) -> None:
        """Measure this process's images and report on those of all processes.

        Args:
            dataloader: gives the images one by one.
            indices: their indices in the data set.
            current_iter: the iteration.
            tb_logger: TensorBoard's writer, or None.
            save_img: whether to save the restored images.
        """
        data: Any = dataloader.dataset
        dataset = data.opt['name']
        if self.validated_at.get(dataset) == current_iter:
            return  # BasicSR validates once more at the end of training
        self.validated_at[dataset] = current_iter
        start = time.time()
        rows = self._measure_images(dataloader, indices, dataset, current_iter, save_img)
        if self.is_train and (signal := distributed.largest(stopping.received())):
            self.stop(current_iter, signal)  # a resumed run validates first
        rows = sorted(distributed.collect(rows), key=lambda row: row.number)
        seconds = time.time() - start
        self.validation_time += seconds
        self.validated.add(current_iter)
        if distributed.rank() > 0:
            return
        table = ValidationTable(self.opt['val'].get('metrics') or {})
        for row in rows:
            table.add(row.name, row.values)
        self.log_validation(dataset, table, current_iter, tb_logger)
        self.write_results(dataset, table, current_iter if self.is_train else None, seconds)
        for row in rows:
            if tb_logger and row.strip is not None:
                tag, image = printable(f'{dataset}/{row.name}'), row.strip[..., ::-1].copy()
                tb_logger.add_image(tag, image, current_iter, dataformats='HWC')

    def _measure_images(
        self,
        dataloader: DataLoader,
        indices: Iterable[int],
        dataset: str,
        current_iter: int,
        save_img: bool,
    ) -> list[ValidatedImage]:
        options, rows, strips = self.opt['val'], [], 0
        if self.is_train and self.opt['logger'].get('use_tb_logger'):
            strips = options.get('tb_images', 4)
        shown = distributed.rank() == 0 and options.get('pbar', False)
        # With disable=None tqdm shows a bar only if stderr is a terminal.
        bar = tqdm(dataloader, desc=dataset, unit='image', disable=None if shown else True)
        for data, index in zip(bar, indices):
            self.feed_data(data)
            self.test()
            name = os.path.splitext(os.path.basename(self.names[0]))[0]
            images = {
                key: tensor2img([getattr(self, key)]) for key in ('lq', 'output', 'gt', 'mask')
            }
            values = self.measure(images, options.get('metrics') or {})
            if save_img:
                self.save_images(dataset, name, current_iter, images)
            rows.append(
                ValidatedImage(index, name, values, strip(**images) if index < strips else None)
            )
            if self.is_train and stopping.received():
                break
        return rows

    def measure(
        self, images: Mapping[str, np.ndarray], metrics: Mapping[str, dict]
    ) -> dict[tuple[str, str], float]:
        """Return {(row, metric): value}, with the rows 'input' and 'result'.

        A metric that takes the mask composites by itself, so it gets the network's own output:
        blending a soft mask twice would be wrong.
        """
        shared = {'img2': images['gt'], 'lq': images['lq'], 'mask': self.mask[0, 0].cpu().numpy()}
        values = {}
        for metric, settings in metrics.items():
            function = METRIC_REGISTRY.get(settings['type'])
            composites = 'mask' in inspect.signature(function).parameters
            result = tensor2img([self.raw]) if composites else images['output']
            for row, image in (('input', images['lq']), ('result', result)):
                values[row, metric] = calculate_metric({'img': image, **shared}, settings)
        return values

    def save_images(
        self, dataset: str, name: str, current_iter: int, images: Mapping[str, np.ndarray]
    ) -> None:
        """Save the restored image and the strip lq, mask, restored, gt in BasicSR's folders."""
        folder = self.opt['path']['visualization']
        if self.is_train:
            folder, label = os.path.join(folder, name), str(current_iter)
        else:
            folder = os.path.join(folder, dataset)
            label = self.opt['val'].get('suffix') or self.opt['name']
        os.makedirs(folder, exist_ok=True)
        stem = shortened(name, LONGEST_NAME - len(os.fsencode(f'_{label}_strip.png')))
        for suffix, image in (('', images['output']), ('_strip', strip(**images))):
            target = os.path.join(folder, f'{stem}_{label}{suffix}.png')
            write_atomically(target, cv2.imencode('.png', image)[1].tobytes())

    def write_results(
        self, dataset: str, table: ValidationTable, iteration: int | None, seconds: float
    ) -> None:
        """Write results.json: the last validation of every data set, for programs."""
        self.results[dataset] = {
            'iteration': iteration,
            'seconds': round(seconds, 3),
            **table.record(),
        }
        folder = self.opt['path'].get('experiments_root' if self.is_train else 'results_root')
        if folder is None:  # a model that is used without BasicSR's pipelines
            return
        network = self.get_bare_model(self.net_g)
        record = {
            'name': self.opt['name'],
            'network': type(network).__name__,
            'parameters': sum(p.numel() for p in network.parameters()),
            'data_sets': self.results,
        }
        text = json.dumps(record, indent=1)
        write_atomically(os.path.join(folder, 'results.json'), text.encode())

    def log_validation(
        self, dataset: str, table: ValidationTable, current_iter: int, tb_logger: Any
    ) -> None:
        """Log the table, update BasicSR's best results, and write scalars or a CSV."""
        lines = [f'Validation {printable(dataset)}, {len(table.names)} images', str(table)]
        if self.is_train and table.metrics:
            lines.append(f'\tbest: {self._update_best(dataset, table, current_iter)}')
        elif table.metrics:
            path = os.path.join(self.opt['path']['results_root'], f'{dataset}.csv')
            table.write_csv(path)
            lines.append(f'\tby image: {printable(path)}')
        get_root_logger().info('\n'.join(lines))
        if not tb_logger:
            return
        for metric in table.metrics:
            for tag, value in (
                ('metrics', table.mean('result', metric)),
                ('input', table.mean('input', metric)),
                ('gain', table.gain(metric)),
            ):
                tb_logger.add_scalar(f'{tag}/{dataset}/{metric}', value, current_iter)

    def _update_best(self, dataset: str, table: ValidationTable, current_iter: int) -> str:
        """Update BasicSR's best results, and return them in one line."""
        self._initialize_best_metric_results(dataset)
        for metric in table.metrics:
            value = table.mean('result', metric)
            self._update_best_metric_result(dataset, metric, value, current_iter)
        best = self.best_metric_results[dataset]
        return ', '.join(
            f'{metric} {best[metric]["val"]:.4f} @ {best[metric]["iter"]}'
            for metric in table.metrics
        )


def shortened(name: str, room: int) -> str:
    """Return a name of at most `room` bytes: if it is longer, its start and a digest."""
    data = os.fsencode(name)
    if len(data) <= room:
        return name
    digest = f'_{hashlib.sha256(data).hexdigest()[:8]}'
    return data[: max(room - len(digest), 0)].decode(errors='ignore') + digest
