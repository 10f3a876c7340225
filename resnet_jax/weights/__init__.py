"""Weight files: those of other frameworks, and this project's own format for exchange.

There is one module for each format. The others recognise the network in a file and match the names
of its arrays. The package works on bytes and named arrays, and does not know runs and checkpoints.
"""
