"""Figures, one in each module. No other package imports matplotlib or datashader.

Each `draw_` function returns the bytes of a picture; none writes a file.
"""

import logging

logging.getLogger('matplotlib.font_manager').setLevel(logging.ERROR)
"""Without it, the first report on a machine logs that matplotlib builds its cache of fonts."""
