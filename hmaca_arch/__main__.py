"""`python -m hmaca_arch` is `basicsr`, for launchers that start a module, such as torchrun."""

from hmaca_arch.cli import main

if __name__ == '__main__':
    main()
