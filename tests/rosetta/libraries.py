"""One neuron in each library, and its surrogate derivatives, by running the library itself.

RUNS: a function of x and w, lists of T numbers, gives S, the membrane V that is reported, and dL/dx for
L = sum over t of w[t] S[t], at beta = 1/2, threshold 1 and the library's own surrogate. SURROGATES: a function of a
list of x = U - theta gives sigma'(x). Nothing is imported before it is asked for. `python -m tests.rosetta.record`
writes what they give into recorded.json.
"""

import importlib
import sys
import types
import warnings

RUNS = {}  # name -> (the package that must be there, function)


def run(name, package):
    def mark(function):
        RUNS[name] = (package, function)
        return function

    return mark


def _torch(x, dtype="float64"):
    torch = importlib.import_module("torch")
    return torch, torch.tensor(x, dtype=getattr(torch, dtype), requires_grad=True)


def _gradient(x, S, w):
    """dL/dx by PyTorch, S a list of scalars or an array of T."""
    loss = sum(w_t * S_t.sum() for w_t, S_t in zip(w, S, strict=True))
    loss.backward()
    return x.grad.tolist()


def _numbers(values):
    return [float(value) for value in values]


# --- snnTorch ------------------------------------------------------------------------------------------------------


def _snntorch(x, w, **arguments):
    snntorch = importlib.import_module("snntorch")
    torch, x = _torch(x, "float32")
    lif, mem, S, V = snntorch.Leaky(beta=0.5, **arguments), torch.zeros(1), [], []
    for x_t in x:
        spk, mem = lif(x_t.reshape(1), mem)
        S.append(spk)
        V.append(mem)
    return _numbers(S), _numbers(V), _gradient(x, S, w)


@run("snnTorch", "snntorch")
def snntorch_subtract(x, w):
    return _snntorch(x, w)


@run("snnTorch, reset_delay=False", "snntorch")
def snntorch_no_delay(x, w):
    return _snntorch(x, w, reset_delay=False)


@run("snnTorch, zero, reset_delay=False", "snntorch")
def snntorch_zero_no_delay(x, w):
    return _snntorch(x, w, reset_mechanism="zero", reset_delay=False)


# --- SpikingJelly --------------------------------------------------------------------------------------------------


def _spikingjelly(x, w, **arguments):
    neuron = importlib.import_module("spikingjelly.activation_based.neuron")
    _, x = _torch(x)
    node, S, V = neuron.LIFNode(tau=2.0, **arguments), [], []
    for x_t in x:
        S.append(node(x_t.reshape(1)))
        V.append(node.v)
    return _numbers(S), _numbers(V), _gradient(x, S, w)


@run("SpikingJelly, hard reset", "spikingjelly")
def spikingjelly_hard(x, w):
    return _spikingjelly(x, w)


@run("SpikingJelly, soft reset", "spikingjelly")
def spikingjelly_soft(x, w):
    return _spikingjelly(x, w, v_reset=None)


# --- Norse ---------------------------------------------------------------------------------------------------------


@run("Norse, LIFBox", "norse")
def norse_box(x, w):
    lif_box = importlib.import_module("norse.torch.functional.lif_box")
    torch, x = _torch(x)
    half, alpha = torch.tensor(0.5, dtype=x.dtype), torch.tensor(100.0, dtype=x.dtype)
    p = lif_box.LIFBoxParameters(tau_mem_inv=half, alpha=alpha)
    state, S, V = lif_box.LIFBoxFeedForwardState(v=torch.zeros(1, dtype=x.dtype)), [], []
    for x_t in x:
        z, state = lif_box.lif_box_feed_forward_step(x_t.reshape(1), state, p, dt=1.0)
        S.append(z)
        V.append(state.v)
    return _numbers(S), _numbers(V), _gradient(x, S, w)


@run("Norse, LIFCell", "norse")
def norse_lif(x, w):
    lif = importlib.import_module("norse.torch.functional.lif")
    torch, x = _torch(x)
    half, one, zero = (torch.tensor(value, dtype=x.dtype) for value in (0.5, [[1.0]], [[0.0]]))
    p = lif.LIFParameters(tau_syn_inv=half, tau_mem_inv=half, alpha=torch.tensor(100.0, dtype=x.dtype))
    state, S, V = lif.LIFState(z=zero, v=zero, i=zero), [], []
    for x_t in x:
        z, state = lif.lif_step(x_t.reshape(1, 1), state, one, zero, p, dt=1.0)
        S.append(z)
        V.append(state.v)
    return _numbers(S), _numbers(V), _gradient(x, S, w)


# --- sinabs --------------------------------------------------------------------------------------------------------


def _sinabs(x, w, **arguments):
    layers = importlib.import_module("sinabs.layers")
    _, x = _torch(x, "float32")
    lif = layers.LIF(tau_mem=1.0, train_alphas=True, record_states=True, **arguments)
    lif.alpha_mem.data.fill_(0.5)
    S = lif(x.reshape(1, -1, 1)).ravel()
    return _numbers(S), _numbers(lif.recordings["v_mem"].ravel()), _gradient(x, S, w)


@run("sinabs, SingleSpike", "sinabs")
def sinabs_single(x, w):
    return _sinabs(x, w, spike_fn=importlib.import_module("sinabs.activation").SingleSpike)


@run("sinabs, MultiSpike", "sinabs")
def sinabs_multi(x, w):
    return _sinabs(x, w)


# --- lava-dl, from its source tree ---------------------------------------------------------------------------------


@run("lava-dl, CUBA", "lava")
def lava_cuba(x, w):
    # slayer imports OpenCV for its object detection; the neuron does not need it.
    name = "lava.lib.dl.slayer.object_detection"
    sys.modules.setdefault(name, types.ModuleType(name))
    cuba = importlib.import_module("lava.lib.dl.slayer.neuron.cuba")
    _, x = _torch(x, "float32")
    lif = cuba.Neuron(threshold=1.0, current_decay=1.0, voltage_decay=0.5)
    _, voltage = lif.dynamics(x.reshape(1, 1, -1))
    S = lif.spike(voltage).ravel()
    return _numbers(S), _numbers(voltage.ravel()), _gradient(x, S, w)


# --- Spyx ----------------------------------------------------------------------------------------------------------


@run("Spyx", "spyx")
def spyx_lif(x, w):
    jax = importlib.import_module("jax")
    nnx = importlib.import_module("flax.nnx")
    nn = importlib.import_module("spyx.nn")
    lif = nn.LIF((1,), beta=0.5, rngs=nnx.Rngs(0))

    def loss(x):
        state, S, V = lif.initial_state(1), [], []
        for t in range(len(w)):
            spikes, state = lif(x[t].reshape(1, 1), state)
            S.append(spikes.sum())
            V.append(state.sum())
        return sum(w_t * S_t for w_t, S_t in zip(w, S, strict=True)), (S, V)

    dx, (S, V) = jax.grad(loss, has_aux=True)(jax.numpy.array(x, jax.numpy.float32))
    return _numbers(S), _numbers(V), _numbers(dx)


# --- Rockpool ------------------------------------------------------------------------------------------------------


@run("Rockpool", "rockpool")
def rockpool_lif(x, w):
    rockpool = importlib.import_module("rockpool.nn.modules")
    torch, x = _torch(x, "float32")
    half = torch.tensor([0.5])
    lif = rockpool.LIFTorch(
        (1, 1), leak_mode="decays", alpha=half, beta=half.reshape(1, 1), max_spikes_per_dt=torch.tensor(1.0)
    )
    S, _, recorded = lif(x.reshape(1, -1, 1), record=True)
    return _numbers(S.ravel()), _numbers(recorded["vmem"].ravel()), _gradient(x, S.ravel(), w)


# --- SpyTorch: the loop of its first notebook's cell 33, run as it stands ------------------------------------------


@run("SpyTorch", "spytorch_notebooks")
def spytorch_loop(x, w):
    notebooks = importlib.import_module("spytorch_notebooks")  # a module of the recorder: where the notebooks lie
    torch, x = _torch(x)
    loop, surrogate = notebooks.cell(1, "new_mem = (beta*mem +syn)*(1.0-rst)"), notebooks.cell(2, "class SurrGradSpike")
    names = {"torch": torch, "nn": torch.nn, "device": "cpu", "dtype": x.dtype, "alpha": 0.5, "beta": 0.5}
    names |= {"batch_size": 1, "nb_hidden": 1, "nb_steps": len(w), "h1": x.reshape(1, -1, 1)}
    exec(surrogate, names)
    exec(loop, names)
    S = names["spk_rec"].ravel()
    return _numbers(S), _numbers(names["mem_rec"].ravel()), _gradient(x, S, w)


# --- surrogates: sigma'(x) at threshold 1 ---------------------------------------------------------------------------


def _of_torch(module, make):
    """sigma' of what `make(module)` gives: a function of x whose backward is the surrogate."""

    def derivative(x):
        function = make(importlib.import_module(module))
        _, x = _torch(x)
        function(x).sum().backward()
        return x.grad.tolist()

    return derivative


def _of_jax(make):
    def derivative(x):
        jax = importlib.import_module("jax")
        function = make(importlib.import_module("spyx.axn"))
        return _numbers(jax.grad(lambda x: function(x).sum())(jax.numpy.array(x, jax.numpy.float32)))

    return derivative


def _of_sinabs(name):
    def derivative(x):
        module = importlib.import_module("sinabs.activation.surrogate_gradient_fn")
        _, x = _torch(x)
        return getattr(module, name)()(x.detach() + 1.0, 1.0).tolist()

    return derivative


def _of_rockpool(name):
    def derivative(x):
        module = importlib.import_module("rockpool.nn.modules.torch.lif_torch")
        torch, x = _torch(x)
        getattr(module, name).apply(x + 1.0, torch.tensor(1.0, dtype=x.dtype)).sum().backward()
        return x.grad.tolist()

    return derivative


def _lava(x):
    name = "lava.lib.dl.slayer.object_detection"
    sys.modules.setdefault(name, types.ModuleType(name))
    cuba = importlib.import_module("lava.lib.dl.slayer.neuron.cuba")
    lif = cuba.Neuron(threshold=1.0, current_decay=1.0, voltage_decay=0.5)
    _, x = _torch(x)
    lif.spike(x + 1.0).sum().backward()
    return x.grad.tolist()


def _spytorch(x):
    notebooks = importlib.import_module("spytorch_notebooks")
    torch, x = _torch(x)
    names = {"torch": torch, "nn": torch.nn}
    exec(notebooks.cell(2, "class SurrGradSpike"), names)
    names["spike_fn"](x).sum().backward()
    return x.grad.tolist()


_SPIKINGJELLY = (
    "PiecewiseQuadratic PiecewiseExp Sigmoid SoftSign SuperSpike ATan NonzeroSignLogAbs Erf PiecewiseLeakyReLU "
    "SquarewaveFourierSeries S2NN QPseudoSpike LeakyKReLU FakeNumericalGradient LogTailedReLU Rect"
)
_SNNTORCH = "straight_through_estimator triangular fast_sigmoid atan sigmoid heaviside spike_rate_escape SFS"


def _call(name, *arguments, **keywords):
    return lambda module: getattr(module, name)(*arguments, **keywords)


def _norse(method, alpha):
    return lambda module: lambda x: module.threshold(x, method, alpha)


SURROGATES = {
    **{f"snnTorch {name}": ("snntorch", _of_torch("snntorch.surrogate", _call(name))) for name in _SNNTORCH.split()},
    **{
        f"SpikingJelly {name}": ("spikingjelly", _of_torch("spikingjelly.activation_based.surrogate", _call(name)))
        for name in _SPIKINGJELLY.split()
    },
    **{
        f"Norse {method}": ("norse", _of_torch("norse.torch.functional.threshold", _norse(method, alpha)))
        for method, alpha in [("super", 100.0), ("triangle", 0.3), ("tanh", 1.0), ("circ", 1.0), ("heavi_erfc", 1.0)]
    },
    **{
        f"sinabs {name}": ("sinabs", _of_sinabs(name))
        for name in ["Heaviside", "Gaussian", "MultiGaussian", "SingleExponential", "PeriodicExponential"]
    },
    "lava-dl Spike": ("lava", _lava),
    **{
        f"Spyx {name}": ("spyx", _of_jax(_call(name)))
        for name in ["superspike", "arctan", "tanh", "boxcar", "triangular"]
    },
    **{f"Rockpool {name}": ("rockpool", _of_rockpool(name)) for name in ["StepPWL", "PeriodicExponential"]},
    "SpyTorch SurrGradSpike": ("spytorch_notebooks", _spytorch),
}


def quietly(function, *arguments):
    """What a function gives, without the warnings of a library that is not ours to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments)
