#!/usr/bin/env python
"""`basicsr comfyui-install` for a clone that is not installed."""

from door import open_door

if __name__ == '__main__':
    open_door('comfyui-install')
