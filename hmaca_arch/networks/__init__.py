"""The networks: HMANet, HMACA, those they are compared with, and their checkpoints."""
