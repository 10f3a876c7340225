"""Checkpoints: their format, writing, reading, which are kept, what happens to damaged ones,
and opening a trained network.

Works on any tree of named arrays. Knows nothing of optimizers, training or data sets.
"""
