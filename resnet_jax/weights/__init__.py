"""Weights in other people's formats, and in our own for exchange: one file a format,
recognition of the network, and the tables that match names.

Works on bytes and named arrays. Knows nothing of runs and checkpoints.
"""
