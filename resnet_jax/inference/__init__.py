"""Inference: predictions for images, and export of networks to files that run without this project.

This package does not know training.
"""
