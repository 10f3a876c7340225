"""ResNet v2 networks: layers, published variants, initial weights and stacking of blocks.

This package does not depend on data sets, optimizers or files.
"""
