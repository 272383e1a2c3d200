"""`basicsr test`: measure a trained network as an option file says, and write its images."""

import os

import datasets_ext  # noqa: F401  (registers the data sets)
import losses_ext  # noqa: F401
from hmaca_arch.commands.train import arguments
from hmaca_arch.training import pipeline


def main(argv: list[str]) -> None:
    """Test below the current folder; errors as in `training.pipeline.run`."""
    pipeline.run('test', arguments(argv, 'test'), root_path=os.getcwd())
