"""npsnn: spiking neural networks with every derivative written by hand.

This file is the table of contents. Importing it loads NumPy and nothing else.
"""

__version__ = "0.1.0"

from npsnn import backprop as backprop
from npsnn import data as data
from npsnn import functional as functional
from npsnn import optim as optim
from npsnn import spikegen as spikegen
from npsnn import spikeplot as spikeplot
from npsnn import surrogate as surrogate
from npsnn import utils as utils
from npsnn.generator import Generator as Generator
from npsnn.layers import AvgPool2d as AvgPool2d
from npsnn.layers import Conv2d as Conv2d
from npsnn.layers import Flatten as Flatten
from npsnn.layers import Linear as Linear
from npsnn.layers import MaxPool2d as MaxPool2d
from npsnn.network import Firing as Firing
from npsnn.network import Sequential as Sequential
from npsnn.network import State as State
from npsnn.network import Tape as Tape
from npsnn.neuron import Leaky as Leaky
