"""BasicSR's `SRModel` for regional restoration: any network, with or without a mask input."""

import itertools
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from hmaca_arch.compositing import composite
from hmaca_arch.config.training_checks import learns_nothing
from hmaca_arch.messages import refuse
from hmaca_arch.models.region_log import region_figures, region_sums
from hmaca_arch.models.validating_model import ValidatingModel
from hmaca_arch.networks.adapter import Adapter, padding, takes
from hmaca_arch.networks.biased_attention import use_fused
from hmaca_arch.networks.loading import check_weights
from hmaca_arch.networks.mask_input import network_section
from hmaca_arch.training import arithmetic, distributed
from hmaca_arch.training.accumulating import exchange_gradients_if
from hmaca_arch.training.sampling import seed_iteration

AMP_TYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16, False: None}


@MODEL_REGISTRY.register()
class MaskedRestorationModel(ValidatingModel):
    """Trains and tests a network on triplets (lq, mask, gt).

    Options beyond `SRModel`'s are TRAIN_OWN, VAL_OWN, LOGGER_OWN and NETWORK_OWN in
    `hmaca_arch.config.schema` (docs/options.md).

    The network and the losses get the mask if their `forward` has an argument of that name. Metrics
    always get it.
    """

    def __init__(self, opt: dict) -> None:
        train_opt = opt.get('train') or {}
        amp = train_opt.get('amp', False)
        if amp not in AMP_TYPES:
            raise ValueError(f'train:amp: got {amp!r}, expected bf16, fp16 or false')
        self.amp_type = AMP_TYPES[amp]
        self.train_composite = train_opt.get('composite', False)
        self.val_composite = (opt.get('val') or {}).get('composite', True)
        self.grad_clip = train_opt.get('grad_clip')
        network = network_section(opt['network_g'])  # also registers networks of other packages
        self.pad_to = padding(opt['network_g'])
        super().__init__({**opt, 'network_g': network})
        arithmetic.use_tf32(train_opt.get('tf32', False), self.device)
        use_fused(train_opt.get('fused_attention', False) and self.device.type == 'cuda')

    def init_training_settings(self) -> None:
        """Set up losses, optimizer, schedule and precision, and compile the network if asked."""
        super().init_training_settings()
        train = self.opt['train']
        refuse(learns_nothing(train))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp_type is torch.float16)
        if train.get('deterministic', False):
            arithmetic.repeat_exactly(self.device)
        arguments = train.get('compile', False)
        if not isinstance(arguments, (bool, dict)):
            raise ValueError(
                f'train:compile: got {arguments!r}, '
                'expected true, false or a section with arguments of torch.compile'
            )
        # `net_g` stays as it is for saving, averaging and validation, whose images vary in size.
        self.compiled: Callable[..., Tensor] | None = None
        if arguments is not False:
            arguments = arguments if isinstance(arguments, dict) else {}
            self.compiled = torch.compile(self.net_g, **arguments)

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Put an `Adapter` around the network, so that all are called in one way.

        `net_g` is called with image, mask and degradation, whichever the network takes.
        """
        return super().model_to_device(Adapter(net, self.pad_to))

    def get_bare_model(self, net: nn.Module) -> nn.Module:
        """Return the network itself, without the wrappers of torch.compile, BasicSR and `Adapter`.

        It is what is saved and averaged.
        """
        net = super().get_bare_model(getattr(net, '_orig_mod', net))
        return net.network if isinstance(net, Adapter) else net

    @master_only
    def print_network(self, net: nn.Module) -> None:
        """Log one line; BasicSR logs every layer."""
        net = self.get_bare_model(net)
        parameters = sum(p.numel() for p in net.parameters())
        get_root_logger().info(f'Network: {type(net).__name__}, with parameters: {parameters:,d}')

    def _print_different_keys_loading(
        self, crt_net: nn.Module, load_net: dict, strict: bool = True
    ) -> None:
        """Check a checkpoint; BasicSR calls this before it loads one."""
        check_weights(self.get_bare_model(crt_net), load_net, strict)
        super()._print_different_keys_loading(crt_net, load_net, strict)

    def feed_data(self, data: dict | list[dict]) -> None:
        """Take a batch, or the batches of one step.

        Args:
            data: `lq` and `gt` (b, c, h, w), `mask` (b, 1, h, w) in [0, 1], `lq_path`: names, and
                `degradation` if the data set gives it.
        """
        self.batches = data if isinstance(data, list) else [data]
        self.take_batch(self.batches[0])

    def take_batch(self, batch: dict) -> None:
        """Move one batch to the device.

        Raises:
            ValueError: it has no mask.
        """
        super().feed_data(batch)
        if 'mask' not in batch:
            raise ValueError(
                'the data set gives no mask: '
                'use MaskedPairedImageDataset or MaskedDegradationDataset'
            )
        self.mask = batch['mask'].to(self.device)
        self.degradation = batch['degradation'].to(self.device) if 'degradation' in batch else None
        self.names = batch['lq_path']

    def restore(self, net: Callable[..., Tensor], do_composite: bool) -> Tensor:
        """Restore the batch.

        Args:
            net: an adapted network.
            do_composite: paste its output into lq.

        Returns:
            (b, c, h, w) in float32, or float64 of a network in float64.
        """
        mixed = self.amp_type is not None
        with torch.autocast(self.device.type, dtype=self.amp_type, enabled=mixed):
            output = net(self.lq, self.mask, self.degradation)
        output = output.to(torch.promote_types(output.dtype, torch.float32))
        return composite(output, self.lq, self.mask) if do_composite else output

    def losses(self) -> OrderedDict[str, Tensor]:
        """Return {name: scalar} of every loss."""
        losses = OrderedDict()
        if self.cri_pix:
            mask = {'mask': self.mask} if 'mask' in takes(self.cri_pix) else {}
            losses['l_pix'] = self.cri_pix(self.output, self.gt, **mask)
        if self.cri_perceptual:
            values = self.cri_perceptual(self.output, self.gt)
            for name, value in zip(('l_percep', 'l_style'), values):
                if value is not None:
                    losses[name] = value
        return losses

    def optimize_parameters(self, current_iter: int) -> None:
        """Take one training step on all batches that were fed.

        Raises:
            ValueError: a loss or the gradient is not finite; the weights are unchanged.
        """
        seed_iteration(self.opt['manual_seed'], current_iter, self.opt['rank'])
        self.optimizer_g.zero_grad()
        losses, regions = [], []
        for batch in self.batches:
            self.take_batch(batch)
            losses.append(self.backward(last=batch is self.batches[-1]))
            if current_iter % self.opt['logger']['print_freq'] == 0:
                regions.append(region_sums(self.lq, self.output, self.gt, self.mask))
        norm = None
        if self.grad_clip:
            self.scaler.unscale_(self.optimizer_g)
            norm = nn.utils.clip_grad_norm_(self.net_g.parameters(), self.grad_clip)
        self.log_dict = self.means_if_finite(current_iter, losses, norm)
        self.scaler.step(self.optimizer_g)
        self.scaler.update()
        if regions:
            self.log_dict.update(region_figures(regions))
        if self.ema_decay > 0:
            self.model_ema(decay=min(self.ema_decay, (1 + current_iter) / (10 + current_iter)))

    def backward(self, last: bool) -> OrderedDict[str, Tensor]:
        """Add the gradient of this batch's losses, each a share of the step's, and return them.

        Args:
            last: whether this is the last batch of the step.
        """
        with exchange_gradients_if(last, self.net_g):
            net = self.net_g if self.compiled is None else self.compiled
            self.output = self.restore(net, self.train_composite)
            losses = self.losses()
            total = torch.stack(list(losses.values())).sum()
            self.scaler.scale(total / len(self.batches)).backward()
        return OrderedDict((name, value.detach()) for name, value in losses.items())

    def means_if_finite(
        self, current_iter: int, losses: Sequence[OrderedDict[str, Tensor]], norm: Tensor | None
    ) -> OrderedDict[str, float]:
        """Return the mean of every loss over the step's batches and all processes.

        It waits for the GPU once.

        Args:
            current_iter: the iteration.
            losses: of each batch.
            norm: of the gradient, if it is clipped.

        Raises:
            ValueError: one of them is not finite. All processes raise, and take no step.
        """
        own = torch.stack([torch.stack(list(batch.values())) for batch in losses])
        checked = [own.mean(dim=0)]
        if norm is not None and not self.scaler.is_enabled():
            # With fp16 the gradient may overflow; the scaler skips such a step.
            checked.append(norm.detach()[None])
        means = distributed.mean(torch.cat(checked))
        if not all(map(math.isfinite, means)):
            raise ValueError(self._not_finite(current_iter, own.sum(dim=1).tolist()))
        return OrderedDict(zip(losses[0], means))

    def _not_finite(self, current_iter: int, totals: list[float]) -> str:
        """Return a message about what is not finite, and on which files.

        Args:
            current_iter: the iteration.
            totals: the sum of the losses of each batch.
        """
        bad = [
            (total, batch) for total, batch in zip(totals, self.batches) if not math.isfinite(total)
        ]
        if bad:
            return (
                f'iteration {current_iter}: the loss is {bad[0][0]} on '
                f'{_names(batch for _, batch in bad)}. Look at these files; if they are sound, '
                'lower the learning rate, set train: grad_clip, or train without amp'
            )
        where = ''
        if distributed.active():
            where = 'here or in another process, whose message names its files; here '
        return (
            f'iteration {current_iter}: the gradient is not finite {where}on '
            f'{_names(self.batches)}; lower the learning rate'
        )

    def get_current_log(self) -> dict[str, Any]:
        """Return what the progress line shows."""
        return {**self.log_dict, 'validations': (len(self.validated), self.validation_time)}

    @torch.no_grad()
    def test(self) -> None:
        """Restore the batch, with the averaged weights if there are any.

        Raises:
            ValueError: the result is not finite.
        """
        # Unwrapped: each rank validates different images, of varying size.
        has_average = hasattr(self, 'net_g_ema')
        net = self.get_bare_model(self.net_g_ema if has_average else self.net_g)
        training = net.training
        net.eval()
        self.raw = self.restore(Adapter(net, self.pad_to), False)
        self.output = composite(self.raw, self.lq, self.mask) if self.val_composite else self.raw
        net.train(training)
        if not torch.isfinite(self.output).all():
            raise ValueError(
                f'the restored image is not finite: {", ".join(self.names)}; '
                'the weights are damaged, or amp overflows'
            )


def _names(batches: Iterable[dict]) -> str:
    return ', '.join(itertools.chain.from_iterable(batch['lq_path'] for batch in batches))
