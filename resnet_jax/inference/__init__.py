"""A trained network at work: predictions for images, and export to files that need none of this
project.

Knows nothing of training.
"""
