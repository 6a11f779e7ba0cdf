"""Learning rates to propose: usual ones, and whether a config's is far from them."""

from bptrain.monitor.verdicts.verdict import Setup

USUAL_RATE = {"sgd": 0.05, "muon": 0.02, "adagrad": 0.01, "nadam": 2e-3}
OTHER_RATE = 1e-3
# of sgd for lstm and gru: half-open gates pass on a quarter, o i = 1/4, both forward and backward,
# so that a step changes what is computed a sixteenth as much
USUAL_THROUGH_GATES = 0.5
GATED = ("lstm", "gru")
UNUSUAL = 2.0  # times the usual rate
FAR = 10.0  # likewise: what no choice of optimizer or size of the network explains


def is_gated(setup: Setup) -> bool:
    """Tell whether the network is an LSTM or a GRU."""
    return setup.key("model.cell") in GATED


def usual(setup: Setup, through_gates: bool = False) -> float:
    """Return a learning rate to begin with.

    through_gates  whether the cell is to become one with gates
    """
    optimizer = str(setup.key("optimizer.kind"))
    if optimizer == "sgd" and (through_gates or is_gated(setup)):
        return USUAL_THROUGH_GATES
    return USUAL_RATE.get(optimizer, OTHER_RATE)


def at_rate(rate: float) -> tuple[str, ...]:
    """Return the changes that set a rate; one that gates need is to be clipped."""
    clipped = ("train.clip_grad_norm=1.0",) if rate == USUAL_THROUGH_GATES else ()
    return (f"optimizer.lr={rate:g}", *clipped)


def at_least_usual(setup: Setup, through_gates: bool = False) -> tuple[str, ...]:
    """Return the change to a usual rate where the config's is below it.

    The gradient by weights that are normalized afterwards shrinks as they grow, since their size
    has no effect: weights that are far too large, at a small rate, would stay where they are.
    Source: van Laarhoven 2017, arXiv:1706.05350, section 2
    """
    rate, least = setup.key("optimizer.lr"), usual(setup, through_gates)
    return at_rate(least) if rate is not None and rate < least else ()


def is_above_usual(setup: Setup, times: float = UNUSUAL) -> bool:
    """Tell whether the config's learning rate is more than so many times a usual one."""
    return float(setup.key("optimizer.lr") or 0.0) > times * usual(setup)


def lower(setup: Setup) -> float:
    """Return a usual rate where the config's is above it, else a tenth of the config's."""
    rate = float(setup.key("optimizer.lr") or usual(setup))
    return usual(setup) if is_above_usual(setup) else float(f"{rate / 10:.1g}")
