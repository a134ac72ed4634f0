"""The proofs: why the gradients can be believed, and tools with which others check their own.

`gradcheck` holds the hand-written backward of a network against complex-step derivatives, `central_differences` against
ordinary ones in the smooth mode, `rtrl` against forward-mode sensitivities.
"""

from npsnn.verify.gradcheck import ArrayCheck as ArrayCheck
from npsnn.verify.gradcheck import GradReport as GradReport
from npsnn.verify.gradcheck import gradcheck as gradcheck
from npsnn.verify.rtrl import rtrl as rtrl
from npsnn.verify.smooth import Difference as Difference
from npsnn.verify.smooth import central_differences as central_differences
