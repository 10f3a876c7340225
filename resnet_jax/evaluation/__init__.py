"""Evaluation of a whole split: loss, accuracies and confusion counts, each example exactly
once.

Knows nothing of training, checkpoints or pictures.
"""
