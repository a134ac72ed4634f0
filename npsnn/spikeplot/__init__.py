"""Plots of spikes and membranes: `raster`, `traces`, `spike_count`, `animator`; `save` and `html5` write what moves.

These functions are snnTorch's, on plain arrays with time first. Bools, integers and floats are all welcome. Three more
look into a network: `activity` shows dead neurons, `gradient_flow` where the gradient goes and where it dies, and
`surrogates` what stands in for the spike's derivative. Matplotlib is needed to draw and is imported when something is
drawn, never by `import npsnn.spikeplot`.

Each function draws on the axes that it is given and on no others, whatever pyplot holds current, and reads `rcParams`
without changing them. A bad argument is refused before anything is drawn.
"""

from npsnn.spikeplot._activity import activity
from npsnn.spikeplot._animator import animator
from npsnn.spikeplot._count import spike_count
from npsnn.spikeplot._gradient_flow import gradient_flow
from npsnn.spikeplot._movie import html5, save
from npsnn.spikeplot._raster import raster
from npsnn.spikeplot._surrogates import surrogates
from npsnn.spikeplot._traces import traces

__all__ = [
    "activity",
    "animator",
    "gradient_flow",
    "html5",
    "raster",
    "save",
    "spike_count",
    "surrogates",
    "traces",
]
