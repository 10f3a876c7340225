"""Data sets: from stored images to batches of uint8 images, in an order that is a function of
the step.

The only package that imports TensorFlow. Knows nothing of networks or training.
"""
