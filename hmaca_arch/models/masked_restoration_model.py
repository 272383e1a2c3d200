"""BasicSR's `SRModel` for regional restoration: any network, with or without a mask input, under
one protocol.
"""

import inspect
import itertools
import json
import math
import os
import time
from collections import OrderedDict
from collections.abc import Iterable

import cv2
import numpy as np
import torch
from basicsr.metrics import calculate_metric
from basicsr.utils import get_root_logger, tensor2img
from basicsr.utils.dist_util import master_only
from basicsr.utils.registry import METRIC_REGISTRY, MODEL_REGISTRY
from torch import Tensor, nn
from tqdm import tqdm

from hmaca_arch.compositing import composite
from hmaca_arch.config.checks import learns_nothing
from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.messages import printable
from hmaca_arch.metrics.summary import ValidationTable
from hmaca_arch.models.resumable_model import ResumableModel
from hmaca_arch.networks.adapter import Adapter, padding, takes
from hmaca_arch.networks.biased_attention import use_fused
from hmaca_arch.networks.loading import check_weights
from hmaca_arch.networks.mask_input import network_section
from hmaca_arch.restoring.sheets import strip
from hmaca_arch.training import arithmetic, distributed, stopping
from hmaca_arch.training.accumulating import gradients_kept
from hmaca_arch.training.progress import decibel
from hmaca_arch.training.sampling import seed_iteration

AMP_TYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16, False: None}


@MODEL_REGISTRY.register()
class MaskedRestorationModel(ResumableModel):
    """Trains and tests a network on triplets (lq, mask, gt).

    Options beyond `SRModel`'s are TRAIN_OWN, VAL_OWN, LOGGER_OWN and NETWORK_OWN in
    `hmaca_arch.config.schema` (docs/options.md).

    The mask reaches the network and the losses if their `forward` has an argument of that name, and
    every metric.
    """

    def __init__(self, opt: dict):
        train_opt = opt.get('train') or {}
        amp = train_opt.get('amp', False)
        if amp not in AMP_TYPES:
            raise ValueError(f'train:amp: got {amp!r}, expected bf16, fp16 or false')
        self.amp_type = AMP_TYPES[amp]
        self.train_composite = train_opt.get('composite', False)
        self.val_composite = (opt.get('val') or {}).get('composite', True)
        self.grad_clip = train_opt.get('grad_clip')
        self.validated_at: dict[str, int] = {}
        self.validated: set = set()  # iterations
        self.results: dict[str, dict] = {}  # by data set, of its last validation
        self.validation_time = 0.0  # seconds of all of them
        network = network_section(opt['network_g'])  # first: it registers what is not
        self.pad_to = padding(opt['network_g'])
        super().__init__({**opt, 'network_g': network})
        arithmetic.use_tf32(train_opt.get('tf32', False), self.device)
        use_fused(train_opt.get('fused_attention', False) and self.device.type == 'cuda')

    def init_training_settings(self) -> None:
        super().init_training_settings()
        if learns_nothing(self.opt['train']):
            raise ValueError(learns_nothing(self.opt['train']))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp_type is torch.float16)
        if self.opt['train'].get('deterministic', False):
            arithmetic.repeat_exactly(self.device)
        self.compiled = None
        arguments = self.opt['train'].get('compile', False)
        if not isinstance(arguments, (bool, dict)):
            raise ValueError(
                f'train:compile: got {arguments!r}, expected true, false or a section with arguments of torch.compile'
            )
        if arguments is not False:
            # beside net_g, which saving, averaging and validation (pictures of any size) go on
            # using as it is
            self.compiled = torch.compile(
                self.net_g, **(arguments if isinstance(arguments, dict) else {})
            )

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """As BasicSR's, with an `Adapter` around the network: `net_g` is called with image, mask
        and degradation, whichever it takes.
        """
        return super().model_to_device(Adapter(net, self.pad_to))

    def get_bare_model(self, net: nn.Module) -> nn.Module:
        """The network itself, which is saved and averaged, without what torch.compile, BasicSR and
        `model_to_device` put around it.
        """
        net = super().get_bare_model(getattr(net, '_orig_mod', net))
        return net.network if isinstance(net, Adapter) else net

    @master_only
    def print_network(self, net: nn.Module) -> None:
        """One line; BasicSR prints every layer."""
        net = self.get_bare_model(net)
        get_root_logger().info(
            f'Network: {type(net).__name__}, with parameters: {sum(p.numel() for p in net.parameters()):,d}'
        )

    def _print_different_keys_loading(
        self, crt_net: nn.Module, load_net: dict, strict: bool = True
    ) -> None:
        """BasicSR calls this with every checkpoint, before it loads it."""
        check_weights(self.get_bare_model(crt_net), load_net, strict)
        super()._print_different_keys_loading(crt_net, load_net, strict)

    def feed_data(self, data: dict | list[dict]) -> None:
        """Take a batch, or the batches of one step: lq, gt (b, c, h, w) and mask (b, 1, h, w) in
        [0, 1].
        """
        self.batches = data if isinstance(data, list) else [data]
        self.take(self.batches[0])

    def take(self, batch: dict) -> None:
        """Move one batch to the device."""
        super().feed_data(batch)
        if 'mask' not in batch:
            raise ValueError(
                'the data set gives no mask: use MaskedPairedImageDataset or MaskedDegradationDataset'
            )
        self.mask = batch['mask'].to(self.device)
        self.degradation = batch['degradation'].to(self.device) if 'degradation' in batch else None
        self.names = batch['lq_path']

    def restore(self, net: nn.Module, do_composite: bool) -> Tensor:
        """(b, c, h, w) float32 (float64 of a network in float64): the output of an adapted network,
        composited or as it is.
        """
        with torch.autocast(
            self.device.type, dtype=self.amp_type, enabled=self.amp_type is not None
        ):
            output = net(self.lq, self.mask, self.degradation)
        output = output.to(torch.promote_types(output.dtype, torch.float32))
        return composite(output, self.lq, self.mask) if do_composite else output

    def losses(self) -> OrderedDict:
        """Name -> scalar of every configured loss."""
        losses = OrderedDict()
        if self.cri_pix:
            mask = {'mask': self.mask} if 'mask' in takes(self.cri_pix) else {}
            losses['l_pix'] = self.cri_pix(self.output, self.gt, **mask)
        if self.cri_perceptual:
            for name, value in zip(
                ('l_percep', 'l_style'), self.cri_perceptual(self.output, self.gt)
            ):
                if value is not None:
                    losses[name] = value
        return losses

    def optimize_parameters(self, current_iter: int) -> None:
        """One training step, on all batches that were fed.

        Raises:
            ValueError: a loss or the gradient is not finite; the weights are still those of the
                step before.
        """
        seed_iteration(self.opt['manual_seed'], current_iter, self.opt['rank'])
        self.optimizer_g.zero_grad()
        losses, regions = [], []
        for batch in self.batches:
            self.take(batch)
            losses.append(self.backward(last=batch is self.batches[-1]))
            if current_iter % self.opt['logger']['print_freq'] == 0:
                regions.append(self.region_sums())
        norm = None
        if self.grad_clip:
            self.scaler.unscale_(self.optimizer_g)
            norm = nn.utils.clip_grad_norm_(self.net_g.parameters(), self.grad_clip)
        self.log_dict = self.means_if_finite(current_iter, losses, norm)
        self.scaler.step(self.optimizer_g)
        self.scaler.update()
        if regions:
            self.log_dict.update(self.region_log(regions))
        if self.ema_decay > 0:
            self.model_ema(decay=min(self.ema_decay, (1 + current_iter) / (10 + current_iter)))

    def backward(self, last: bool) -> OrderedDict:
        """Add the gradient of this batch's losses, each a share of the step's; return them."""
        with gradients_kept(self.net_g, last):
            self.output = self.restore(
                self.net_g if self.compiled is None else self.compiled, self.train_composite
            )
            losses = self.losses()
            self.scaler.scale(sum(losses.values()) / len(self.batches)).backward()
        return OrderedDict((name, value.detach()) for name, value in losses.items())

    def means_if_finite(
        self, current_iter: int, losses: list[OrderedDict], norm: Tensor | None
    ) -> OrderedDict:
        """Mean of every loss over the step's batches and all processes, as numbers. Waits for the
        GPU once.

        Raises:
            ValueError: one of them, or the gradient's `norm`, is not finite. All processes raise,
                and take no step.
        """
        own = torch.stack(
            [torch.stack(list(batch.values())) for batch in losses]
        )  # (batches, losses)
        # with fp16 the gradient may overflow: the scaler skips such a step
        checked = [
            own.mean(dim=0),
            *([] if norm is None or self.scaler.is_enabled() else [norm.detach()[None]]),
        ]
        means = distributed.mean(torch.cat(checked))
        if not all(map(math.isfinite, means)):
            raise ValueError(self.not_finite(current_iter, own.sum(dim=1).tolist()))
        return OrderedDict(zip(losses[0], means))

    def not_finite(self, current_iter: int, totals: list[float]) -> str:
        """What is not finite, and on which files, given the sum of the losses of each batch."""
        bad = [
            (total, batch) for total, batch in zip(totals, self.batches) if not math.isfinite(total)
        ]
        if not bad:
            names = ', '.join(name for batch in self.batches for name in batch['lq_path'])
            where = (
                'here or in another process, whose message names its files; here '
                if distributed.active()
                else ''
            )
            return f'iteration {current_iter}: the gradient is not finite {where}on {names}; lower the learning rate'
        return (
            f'iteration {current_iter}: the loss is {bad[0][0]} on {", ".join(name for _, batch in bad for name in batch["lq_path"])}. '
            'Look at these files; if they are sound, lower the learning rate, set train: grad_clip, or train without amp'
        )

    @torch.no_grad()
    def region_sums(self) -> OrderedDict:
        """Of this batch: absolute and squared errors inside and outside the region, and the areas,
        as sums.
        """
        inside, outside, output = self.mask, 1 - self.mask, self.output.float()
        error = (output - self.gt).abs().mean(dim=1, keepdim=True)
        squares = {
            row: (picture - self.gt).square().mean(dim=1, keepdim=True)
            for row, picture in (('input', self.lq), ('result', output))
        }
        sums = {
            'inside': inside,
            'outside': outside,
            'l_inside': inside * error,
            'l_outside': outside * error,
        }
        sums.update({row: inside * square for row, square in squares.items()})
        return OrderedDict((name, value.sum()) for name, value in sums.items())

    def region_log(self, regions: list[OrderedDict]) -> dict:
        """Of the step over all processes: plain L1 inside and outside the region, and the PSNR
        inside, of the input and the result.
        """
        sums = torch.stack([torch.stack(list(batch.values())) for batch in regions]).sum(dim=0)
        means = dict(zip(regions[0], distributed.mean(sums)))  # over processes: ratios stay
        log = {
            f'l_{part}': means[f'l_{part}'] / means[part]
            for part in ('inside', 'outside')
            if means[part]
        }
        if means['inside']:
            log.update(
                {f'db_{row}': decibel(means[row] / means['inside']) for row in ('input', 'result')}
            )
        return log

    def get_current_log(self) -> dict:
        """What the progress line shows."""
        return {**self.log_dict, 'validations': (len(self.validated), self.validation_time)}

    @torch.no_grad()
    def test(self) -> None:
        """Restore the batch with the averaged weights, if there are any."""
        net = self.get_bare_model(
            getattr(self, 'net_g_ema', self.net_g)
        )  # bare: processes share no forward pass, nor do pictures a shape
        training = net.training
        net.eval()
        self.raw = self.restore(Adapter(net, self.pad_to), False)
        self.output = composite(self.raw, self.lq, self.mask) if self.val_composite else self.raw
        net.train(training)
        if not torch.isfinite(self.output).all():
            raise ValueError(
                f'the restored picture is not finite: {", ".join(self.names)}; the weights are damaged, or amp overflows'
            )

    def nondist_validation(self, dataloader, current_iter, tb_logger, save_img: bool) -> None:
        """Measure the unrestored input and the result on every picture; log means, gain and best;
        in a test write a line a picture.
        """
        self.validate(dataloader, itertools.count(), current_iter, tb_logger, save_img)

    def dist_validation(self, dataloader, current_iter, tb_logger, save_img: bool) -> None:
        """The same, with the pictures dealt to the processes: each measures and writes its share,
        the first one reports.
        """
        numbers, share = distributed.share(dataloader)
        self.validate(share, numbers, current_iter, tb_logger, save_img)

    def validate(
        self, dataloader, numbers: Iterable[int], current_iter, tb_logger, save_img: bool
    ) -> None:
        """Measure these pictures, which have these `numbers` in the data set; report on those of
        all processes.
        """
        dataset = dataloader.dataset.opt['name']
        if self.validated_at.get(dataset) == current_iter:
            return  # BasicSR validates once more at the end of training
        self.validated_at[dataset] = current_iter
        start = time.time()
        metrics = self.opt['val'].get('metrics') or {}
        in_tensorboard = (
            self.opt['val'].get('tb_images', 4)
            if self.is_train and self.opt['logger'].get('use_tb_logger')
            else 0
        )
        rows = []
        hidden = distributed.rank() > 0 or not self.opt['val'].get('pbar', False)
        bar = tqdm(
            dataloader, desc=dataset, unit='picture', disable=hidden or None
        )  # None: unless stderr is a terminal
        for data, number in zip(bar, numbers):
            self.feed_data(data)
            self.test()
            name = os.path.splitext(os.path.basename(self.names[0]))[0]
            pictures = {
                key: tensor2img([getattr(self, key)]) for key in ('lq', 'output', 'gt', 'mask')
            }
            values = self.measure(pictures, metrics)
            if save_img:
                self.write_pictures(dataset, name, current_iter, pictures)
            rows.append(
                (number, name, values, strip(**pictures) if number < in_tensorboard else None)
            )
            if self.is_train and stopping.received():
                break
        if self.is_train and (signal := distributed.largest(stopping.received())):
            self.stop(current_iter, signal)  # a resumed run validates first
        table = ValidationTable(metrics)
        rows = sorted(distributed.collect(rows), key=lambda row: row[0])
        seconds = time.time() - start
        self.validation_time += seconds
        self.validated.add(current_iter)
        if distributed.rank() > 0:
            return
        for _, name, values, _ in rows:
            table.add(name, values)
        self.log_validation(dataset, table, current_iter, tb_logger)
        self.write_results(dataset, table, current_iter if self.is_train else None, seconds)
        if tb_logger:
            for _, name, _, picture in rows[:in_tensorboard]:
                tag = printable(f'{dataset}/{name}')
                tb_logger.add_image(tag, picture[..., ::-1].copy(), current_iter, dataformats='HWC')

    def measure(
        self, pictures: dict[str, np.ndarray], metrics: dict
    ) -> dict[tuple[str, str], float]:
        """(row, metric) -> value. Metrics that take the mask paste by themselves: blending a soft
        mask twice would not be the blend.
        """
        shared = {
            'img2': pictures['gt'],
            'lq': pictures['lq'],
            'mask': self.mask[0, 0].cpu().numpy(),
        }
        values = {}
        for metric, settings in metrics.items():
            pastes = 'mask' in inspect.signature(METRIC_REGISTRY.get(settings['type'])).parameters
            result = tensor2img([self.raw]) if pastes else pictures['output']
            for row, picture in (('input', pictures['lq']), ('result', result)):
                values[row, metric] = calculate_metric({'img': picture, **shared}, settings)
        return values

    def write_pictures(
        self, dataset: str, name: str, current_iter, pictures: dict[str, np.ndarray]
    ) -> None:
        """Write NAME.png and the strip NAME_strip.png (lq, mask, restored, gt) where BasicSR puts
        its pictures.
        """
        if self.opt['is_train']:
            folder, label = os.path.join(self.opt['path']['visualization'], name), current_iter
        else:
            folder, label = (
                os.path.join(self.opt['path']['visualization'], dataset),
                self.opt['val'].get('suffix') or self.opt['name'],
            )
        os.makedirs(folder, exist_ok=True)
        for suffix, picture in (('', pictures['output']), ('_strip', strip(**pictures))):
            write_atomically(
                os.path.join(folder, f'{name}_{label}{suffix}.png'),
                cv2.imencode('.png', picture)[1].tobytes(),
            )

    def write_results(
        self, dataset: str, table: ValidationTable, iteration: int | None, seconds: float
    ) -> None:
        """Write results.json, for programs: what the last validation of every data set measured."""
        self.results[dataset] = {
            'iteration': iteration,
            'seconds': round(seconds, 3),
            **table.record(),
        }
        network = self.get_bare_model(self.net_g)
        described = {
            'network': type(network).__name__,
            'parameters': sum(p.numel() for p in network.parameters()),
        }
        text = json.dumps(
            {'name': self.opt['name'], **described, 'data_sets': self.results}, indent=1
        )
        folder = self.opt['path'].get('experiments_root' if self.is_train else 'results_root')
        if folder is None:  # a model that is used without BasicSR's pipelines
            return
        write_atomically(os.path.join(folder, 'results.json'), text.encode())

    def log_validation(self, dataset: str, table: ValidationTable, current_iter, tb_logger) -> None:
        """Log the table, keep BasicSR's best results up to date, and write scalars or a CSV."""
        lines = [f'Validation {printable(dataset)}, {len(table.names)} pictures', str(table)]
        if self.opt['is_train'] and table.metrics:
            self._initialize_best_metric_results(dataset)
            for metric in table.metrics:
                self._update_best_metric_result(
                    dataset, metric, table.mean('result', metric), current_iter
                )
            best = self.best_metric_results[dataset]
            lines.append(
                '\tbest: '
                + ', '.join(
                    f'{metric} {best[metric]["val"]:.4f} @ {best[metric]["iter"]}'
                    for metric in table.metrics
                )
            )
        elif table.metrics:
            path = os.path.join(self.opt['path']['results_root'], f'{dataset}.csv')
            table.write_csv(path)
            lines.append(f'\tby picture: {printable(path)}')
        get_root_logger().info('\n'.join(lines))
        if tb_logger:
            for metric in table.metrics:
                tb_logger.add_scalar(
                    f'metrics/{dataset}/{metric}', table.mean('result', metric), current_iter
                )
                tb_logger.add_scalar(
                    f'input/{dataset}/{metric}', table.mean('input', metric), current_iter
                )
                tb_logger.add_scalar(f'gain/{dataset}/{metric}', table.gain(metric), current_iter)
