"""`basicsr test`: measure a trained network and save the restored images."""

import os

import datasets_ext  # noqa: F401  (registers the data sets)
import losses_ext  # noqa: F401  (registers the losses)
from hmaca_arch.commands.importing import import_modules
from hmaca_arch.commands.train import arguments
from hmaca_arch.training.pipeline import run_pipeline


def main(argv: list[str]) -> None:
    """Test, and write to the current folder; errors as in `run_pipeline`."""
    args = arguments(argv, 'test')
    import_modules(args.modules)
    run_pipeline('test', args, root_path=os.getcwd())
