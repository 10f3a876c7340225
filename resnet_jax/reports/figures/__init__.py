"""Figures, one in each module. No other package imports matplotlib or datashader.

Each `draw_` function returns the bytes of a picture; none writes a file.
"""
