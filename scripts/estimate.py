#!/usr/bin/env python
"""Run `basicsr estimate` from a clone that is not installed."""

from door import open_door

if __name__ == '__main__':
    open_door('estimate')
