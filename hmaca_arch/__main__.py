"""`python -m hmaca_arch` is the console command `basicsr`; launchers such as torchrun start it so."""

from hmaca_arch.cli import main

if __name__ == '__main__':
    main()
