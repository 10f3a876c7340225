"""Evaluation of whole splits: loss, accuracies and confusion counts; each example counts once.

This package does not depend on training, checkpoints or reports.
"""
