"""Checkpoints: format, writing, reading, selection, recovery from damage, and trained networks.

States are trees of named arrays. This package does not depend on optimizers, training or data sets.
"""
