"""Inference: predictions for images, evaluation of checkpoints, and export of networks to files.

This package does not know training.
"""
