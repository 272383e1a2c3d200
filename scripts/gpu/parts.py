#!/usr/bin/env python
"""Split weights into pieces of at most 15.9 MiB, and join them again.

    parts.py split net_g_latest.pth FOLDER [--half]
    parts.py join FOLDER net_g_latest.pth

It is for machines that hand back small files only. The averaged weights travel: those of HMACA+ are
60.7 MB in 4 parts, and with --half 30.3 MB in 2. Joining checks their digest.
"""

import argparse
import hashlib
import io
import json
from pathlib import Path

import torch

LARGEST = 16 * 2**20 - 100_000


def split(source: str, folder: str, half: bool) -> None:
    """Write the averaged weights in parts, and their digest."""
    states = torch.load(source, map_location='cpu', weights_only=True)
    state = states.get('params_ema') or states['params']
    key = 'params_ema' if 'params_ema' in states else 'params'
    if half:
        state = {
            name: value.half() if value.dtype == torch.float32 else value
            for name, value in state.items()
        }
    buffer = io.BytesIO()
    torch.save({key: state}, buffer)
    data = buffer.getvalue()
    pieces = [data[start : start + LARGEST] for start in range(0, len(data), LARGEST)]
    for number, piece in enumerate(pieces):
        Path(folder, f'weights.{number}').write_bytes(piece)
    digest = {
        'sha256': hashlib.sha256(data).hexdigest(),
        'bytes': len(data),
        'parts': len(pieces),
        'half': half,
        'key': key,
    }
    Path(folder, 'weights.json').write_text(json.dumps(digest), encoding='utf-8')
    print(json.dumps(digest))


def join(folder: str, target: str) -> None:
    """Put the parts together, and check their digest."""
    digest = json.loads(Path(folder, 'weights.json').read_text(encoding='utf-8'))
    data = b''.join(
        Path(folder, f'weights.{number}').read_bytes() for number in range(digest['parts'])
    )
    if hashlib.sha256(data).hexdigest() != digest['sha256']:
        raise SystemExit('the parts do not add up: the digest differs')
    states = torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)
    states = {
        key: {
            name: value.float() if value.dtype == torch.float16 else value
            for name, value in state.items()
        }
        for key, state in states.items()
    }
    torch.save(states, target)
    count = sum(value.numel() for value in next(iter(states.values())).values())
    print(f'{target}: {", ".join(states)}, {count:,d} numbers')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('what', choices=('split', 'join'))
    parser.add_argument('source')
    parser.add_argument('target')
    parser.add_argument('--half', action='store_true')
    args = parser.parse_args()
    split(args.source, args.target, args.half) if args.what == 'split' else join(
        args.source, args.target
    )
