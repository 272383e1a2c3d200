#!/usr/bin/env python
"""Compare what the project computes on CUDA with what it computes on a CPU.

Each check is one line, OK or FAIL; the figures are in a JSON file.

Every check is tried, whatever the others do. The exit status is the number of failed checks.
`--cpu` tries the script itself without a GPU.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import attention_checks  # noqa: F401  (they register themselves)
import torch
import training_checks  # noqa: F401
from checking import (
    CUDA,
    DEVICE,
    NETWORKS,
    alive,
    batch,
    check,
    distance,
    exact_float32,
    run,
    run_checks,
)

from hmaca_arch.compositing import composite
from hmaca_arch.networks.adapter import Adapter
from losses_ext.alpha_masked_l1 import alpha_masked_l1


@check('machine')
def _():
    p = torch.cuda.get_device_properties(0) if CUDA else None
    return {
        'torch': torch.__version__,
        'cudnn': torch.backends.cudnn.version(),
        'gpu': p and p.name,
        'GiB': p and round(p.total_memory / 2**30, 1),
        'tf32 matmul, conv': [
            torch.backends.cuda.matmul.allow_tf32,
            torch.backends.cudnn.allow_tf32,
        ],
        'cores': os.cpu_count(),
    }


for label, build in NETWORKS.items():

    @check(f'{label}: float32 and bf16 against float64 on the CPU')
    def _(label=label, build=build):
        torch.manual_seed(0)
        lq, gt, mask = batch(soft='soft' in label)
        reference = alive(build().double().train())
        truth = run(reference, lq, mask, gt)
        net = build().train()
        net.load_state_dict(
            {
                k: v.float() if v.is_floating_point() else v
                for k, v in reference.state_dict().items()
            }
        )
        net = net.to(DEVICE)
        data = [t.float().to(DEVICE) for t in (lq, mask, gt)]
        figures = {}
        with exact_float32():
            for kind, amp in (('fp32', None), ('bf16', torch.bfloat16), ('fp16', torch.float16)):
                got = run(net, *data, amp=amp)
                figures[kind] = [
                    float(f'{distance(a, b):.2g}')
                    for a, b in zip((got[0], got[2], got[3]), (truth[0], truth[2], truth[3]))
                ]
                outside = data[1].expand_as(got[1]) == 0
                figures['outside is lq, bit for bit'] = bool(
                    (got[1][outside] == data[0][outside]).all()
                )
        net.eval()
        with torch.inference_mode(), torch.autocast(DEVICE.type, dtype=torch.bfloat16):
            out = Adapter(net)(data[0], data[1])
        figures['bf16 inference'] = float(f'{distance(out, truth[0]):.2g}')
        ok = (
            max(figures['fp32'][:2]) < 1e-4
            and figures['fp32'][2] < 1e-3
            and figures['outside is lq, bit for bit']
        )
        return {
            'ok': ok
            and max(figures['bf16'][:2]) < 3e-2
            and figures['bf16'][2] < 0.2
            and figures['bf16 inference'] < 3e-2,
            **figures,
        }


def compiled():
    """Compare a compiled network with itself."""
    torch.manual_seed(0)
    net = alive(NETWORKS['window+position']()).train().to(DEVICE)
    lq, gt, mask = (t.float().to(DEVICE) for t in batch())
    with exact_float32():
        eager = run(net, lq, mask, gt)
        twin = torch.compile(net)
        start = time.time()
        out = twin(lq, mask)
        loss = (
            alpha_masked_l1(composite(out, lq, mask), gt, mask, 0.5) + out.float().square().mean()
        )
        for p in net.parameters():
            p.grad = None
        loss.backward()
    gradient = torch.cat(
        [p.grad.flatten().double().cpu() for p in net.parameters() if p.grad is not None]
    )
    same_length = len(gradient) == len(eager[3])
    figures = {
        'output': distance(out, eager[0]),
        'gradient': distance(gradient, eager[3]) if same_length else 'other length',
    }
    return {
        'ok': figures['output'] < 1e-4,
        **figures,
        'seconds to compile': round(time.time() - start, 1),
    }


def main() -> int:
    """Run the checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--cpu', action='store_true')
    parser.add_argument('--out', type=Path, default=Path('checks.json'))
    parser.add_argument('--only', nargs='+', default=[''], help='checks with one of these words')
    parser.add_argument(
        '--compile', action='store_true', help='also torch.compile of a small network (a minute)'
    )
    args = parser.parse_args()
    if args.compile:
        check('compiled: the same output and gradient')(compiled)
    return min(len(run_checks(args.out, args.only)), 100)


if __name__ == '__main__':
    sys.exit(main())
