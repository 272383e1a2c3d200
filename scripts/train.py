#!/usr/bin/env python
"""Run `basicsr train` from a clone that is not installed."""

from door import open_door

if __name__ == '__main__':
    open_door('train')
