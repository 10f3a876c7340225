"""The kinds of data sets: embedded digits, TFDS, folders of images. Each opens a split as a
`Source`.

Knows nothing of batches, shuffling over epochs or augmentation.
"""
