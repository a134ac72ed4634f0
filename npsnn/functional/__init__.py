"""Losses, accuracies and the regulariser: what the world knows as `SF`."""

from npsnn.functional.accuracy import accuracy_rate as accuracy_rate
from npsnn.functional.accuracy import accuracy_temporal as accuracy_temporal
from npsnn.functional.loss import Loss as Loss
from npsnn.functional.loss import ce_count_loss as ce_count_loss
from npsnn.functional.loss import ce_max_membrane_loss as ce_max_membrane_loss
from npsnn.functional.loss import ce_rate_loss as ce_rate_loss
from npsnn.functional.loss import mse_count_loss as mse_count_loss
from npsnn.functional.loss import mse_membrane_loss as mse_membrane_loss
from npsnn.functional.regularizer import l1_rate_sparsity as l1_rate_sparsity
