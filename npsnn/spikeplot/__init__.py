"""Plots of spikes and membranes: `raster`, `traces`, `spike_count`, `animator`; `save` and `html5` write what moves.

The functions are snnTorch's, on plain arrays with time first. Bools, integers and floats are all welcome. Matplotlib is
needed to draw and is imported when something is drawn, never by `import npsnn.spikeplot`.

Each function draws on the axes that it is given and on no others, whatever pyplot holds current, and reads `rcParams`
without changing them. A bad argument is refused before anything is drawn.
"""

from npsnn.spikeplot._animator import animator
from npsnn.spikeplot._count import spike_count
from npsnn.spikeplot._movie import html5, save
from npsnn.spikeplot._raster import raster
from npsnn.spikeplot._traces import traces

__all__ = ["animator", "html5", "raster", "save", "spike_count", "traces"]
