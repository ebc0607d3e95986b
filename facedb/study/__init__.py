"""The CIFAR-10 block study: six convolutional blocks in one base architecture.

`blocks` explains the blocks, `cost` counts them, `data` and `augment` feed them, `train` holds the
two recipes, `analysis` looks at what they learned. The door is scripts/run_block_study.py; nothing
in facedb imports this package.
"""
