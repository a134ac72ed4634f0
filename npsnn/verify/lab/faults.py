"""Ten faults, each one line of the law, and the answer to each: which checks fail, and why.

All of them were made by somebody, somewhere, and most of them leave a network that trains. docs/lab.md goes through
them.
"""

from contextlib import AbstractContextManager
from typing import NamedTuple

from npsnn import surrogate
from npsnn.adam.reference import adam_step
from npsnn.conv2d.reference import col2im
from npsnn.functional.reference import mse_membrane
from npsnn.leaky.reference import leaky_backward, leaky_forward
from npsnn.linear.reference import linear_backward
from npsnn.pool2d.reference import maxpool2d_forward
from npsnn.verify.planted import Function, planted, source_of


class Fault(NamedTuple):
    """One line of the law, changed.

    >>> print(FAULTS[2])
    the gradients of overlapping windows overwrite each other
    npsnn/conv2d/reference.py, col2im
    - dXp[:, :, rows, columns] += patches[:, :, :, :, i, j].transpose(0, 3, 1, 2)
    + dXp[:, :, rows, columns] = patches[:, :, :, :, i, j].transpose(0, 3, 1, 2)
    """

    title: str
    function: Function
    old: str  # stands once in the function
    new: str
    fails: tuple[str, ...]  # the checks that see it, in their order
    why: str

    @property
    def path(self) -> str:
        """The file, from the top of the project."""
        return self.function.__module__.replace(".", "/") + ".py"

    @property
    def lines(self) -> tuple[str, str]:
        """The line before and after; OSError where the source is not there."""
        line = next(line.strip() for line in source_of(self.function).splitlines() if self.old in line)
        return line, line.replace(self.old, self.new)

    def planted(self) -> AbstractContextManager[None]:
        """A block in which the law has the fault."""
        return planted(self.function, self.old, self.new)

    def __str__(self) -> str:
        before, after = self.lines
        return f"{self.title}\n{self.path}, {self.function.__qualname__}\n- {before}\n+ {after}"


def fault(number: int) -> Fault:
    """A fault by its number, which counts from 1."""
    return FAULTS[number - 1]


FAULTS = (
    Fault(
        "the reset is dropped",
        leaky_forward,
        "(beta_hat * U_last + I_t) - R * theta",
        "beta_hat * U_last + I_t",
        ("hand", "rtrl", "golden"),
        "The backward pass of a detached reset does not mention the reset, so it is still the exact derivative of the "
        "forward pass, of the wrong one. It takes a second forward pass (rtrl), or numbers from elsewhere.",
    ),
    Fault(
        "time is walked forwards in the backward pass",
        leaky_backward,
        "range(len(U) - 1, -2, -1)",
        "range(-1, len(U))",
        ("hand", "gradcheck", "smooth", "rtrl", "adjoint", "ones", "steps", "golden"),
        "The gradient at t is made of what came before t in place of what follows. The forward pass is untouched, so "
        "whatever compares a gradient with anything sees it.",
    ),
    Fault(
        "the gradients of overlapping windows overwrite each other",
        col2im,
        "] += patches",
        "] = patches",
        ("gradcheck", "adjoint", "ones", "golden"),
        "A pixel is copied to every window that it lies in: a fork, and gradients add at forks. Whatever looks at the "
        "gradient that leaves a convolution for its input sees it, and nothing else does.",
    ),
    Fault(
        "the weights' gradient pairs a row's delta with another row's input",
        linear_backward,
        "dY.T @ cache.X",
        "dY.T @ cache.X[::-1]",
        ("gradcheck", "smooth", "rtrl", "adjoint", "steps", "batch", "golden"),
        "With ones as the upstream gradient dW is the sum of the rows of X, the same in any order: `ones` is blind. "
        "Random numbers in their place are all it takes (adjoint).",
    ),
    Fault(
        "a membrane exactly at its threshold fires",
        surrogate.spike,
        "x.real > 0",
        "x.real >= 0",
        ("hand", "golden"),
        "No derivative is wrong: it is another convention (C2). Random numbers never meet it; it takes a table with a "
        "tie in it, that somebody else filled in.",
    ),
    Fault(
        "of equal maxima the last one wins",
        maxpool2d_forward,
        "view.real.argmax(axis=-1)  # (P1): argmax takes the first",
        "view.shape[-1] - 1 - view.real[..., ::-1].argmax(axis=-1)  # (P1)",
        ("golden",),
        "Another convention again (C6), which both passes share. After neurons, windows of equal spikes are the usual "
        "case, and the gradient of each goes to another pixel: as good a derivative as the right one.",
    ),
    Fault(
        "the surrogate loses its slope",
        surrogate.fast_sigmoid_derivative,
        "k * abs(x)",
        "abs(x)",
        ("smooth", "golden"),
        "Hard-spike checks compare sigma' with itself. The smooth mode compares it with the derivative of another "
        "formula, its primitive. The table by hand has slope 1, and 1 hides a factor.",
    ),
    Fault(
        "the loss is a sum where it says mean",
        mse_membrane,
        ".mean(), 2 * miss / miss.size",
        ".sum(), 2 * miss",
        ("batch", "golden"),
        "Value and gradient are wrong by the same factor, so the gradient is the exact derivative of the value. A "
        "perfect output still has loss 0. It takes a batch beside its samples to see that it is no mean.",
    ),
    Fault(
        "Adam forgets its bias correction",
        adam_step,
        "lr / (1 - b1**t), float(np.sqrt(1 - b2**t))",
        "lr, 1.0",
        ("adam", "golden"),
        "No check of gradients looks at the optimiser. Its first step must be lr, whatever the gradient's size; this "
        "one's is 3.16 lr.",
    ),
    Fault(
        "the backward pass writes into what forward kept",
        leaky_backward,
        "(kept * U_t)",
        "np.multiply(kept, U_t, out=U_t)",
        ("twice",),
        "The first backward pass is right, for U is not read again. The second one meets membranes that were set to 0 "
        "where they had fired, and sees no spike there. Only a tape that is used twice shows it.",
    ),
)
