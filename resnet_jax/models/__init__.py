"""The networks: ResNet v2, its layers and published variants, initial weights, and the two
layouts of identical blocks.

Knows nothing of data sets, optimizers or files.
"""
