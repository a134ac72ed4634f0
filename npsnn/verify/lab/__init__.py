"""The lab: ten one-line faults of the law, twelve checks, and which of these see which of those (`npsnn lab`)."""

from npsnn.verify.lab.checks import CHECKS as CHECKS
from npsnn.verify.lab.checks import Check as Check
from npsnn.verify.lab.command import failing as failing
from npsnn.verify.lab.command import lab as lab
from npsnn.verify.lab.command import outcome as outcome
from npsnn.verify.lab.faults import FAULTS as FAULTS
from npsnn.verify.lab.faults import Fault as Fault
from npsnn.verify.lab.faults import fault as fault
