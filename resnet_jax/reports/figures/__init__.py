"""The figures, one a file. The only package that imports matplotlib and datashader.

Each returns the bytes of a picture; none writes a file.
"""
