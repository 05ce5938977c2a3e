"""What a checkpoint holds: the kinds of its values, and which stages, epochs and optimisers a run can have come to."""
import torch

from common.names import STAGES, TEACHERS

STATE = {"stage": int, "epoch": int, "rows": list, "memorization": list, "seconds": float, "peak_memory_mb": float,
         "learners": dict}
ROW = {"epoch": int, "method": str, "loss": float | None, "test_accuracy": float | None, "test_auc": float | None,
       "seconds": float | None}  # of metrics.csv; each further column holds numbers
MOMENTS = {"step", "exp_avg", "exp_avg_sq"}  # Adam's state of a parameter
OF_THE_MACHINE = {"capturable", "fused", "foreach"}  # settings of Adam in which a checkpoint and this run may differ
MEMORIZATION = {"method": str, "stage": int, "epoch": int, "mean": float, "deviation": float}  # a row of memorization.csv


def is_state(state):
    """Whether what was read from a checkpoint has everything that a state has, of the right kinds."""
    return (_has(state, STATE) and all(_has(row, ROW) and _has_numbers(row) for row in state["rows"])
            and all(_has(row, MEMORIZATION) for row in state["memorization"]))


def can_be_of(state, flags):
    """Whether a run with these flags can have come to the state's stage and epoch, and to those of its rows. Within a stage
    the learners that are still trained have their optimisers' states."""
    last_stage = STAGES - 1 if any(name in TEACHERS for name in flags["methods"]) else 0
    rows = state["rows"] + state["memorization"]
    if state["epoch"] < flags["epochs"] and not all(
            isinstance(learner, dict) and (learner.get("optimizer") or _is_over(learner, state["epoch"], flags))
            for key, learner in state["learners"].items() if str(key).startswith(f"{state['stage']}/")):
        return False
    return (0 <= state["stage"] <= last_stage and 0 <= state["epoch"] <= flags["epochs"]
            and all(0 <= row.get("stage", 0) <= state["stage"] and 1 <= row["epoch"] <= flags["epochs"] for row in rows))


def has_ended(best, epoch, patience):
    """Whether a learner is trained no more after so many epochs: its best one is `patience` epochs old (early stopping)."""
    return bool(patience and best and epoch - best["epoch"] >= patience)


def _is_over(learner, epoch, flags):
    """Whether a learner's state in a checkpoint is of one that failed or has ended."""
    best = learner.get("best")
    return bool(learner.get("failure")) or (isinstance(best, dict) and isinstance(best.get("epoch"), int)
                                            and has_ended(best, epoch, flags.get("patience")))


def tensor_kinds(tensors):
    """{name: (shape, dtype, layout)} of a dictionary of tensors."""
    return {name: (tensor.shape, tensor.dtype, tensor.layout) for name, tensor in tensors.items()}


def is_adam_state(state, optimizer, unchanged):
    """Whether a state dict from a checkpoint can be one of this optimizer, a torch.optim.Adam, after at least one step.

    unchanged: the parameters whose weights in the checkpoint are those that training began with. They alone may have no
    moments: no loss has reached them.
    """
    def settings(group):
        return {name: value for name, value in group.items() if name not in OF_THE_MACHINE}
    expected = optimizer.state_dict()["param_groups"]
    moments, groups = state["state"], state["param_groups"]
    if [settings(group) for group in groups] != [settings(group) for group in expected]:
        return False
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    missing = {number for number in range(len(parameters)) if number not in moments}
    return len(moments) == len(parameters) - len(missing) and all(
        any(parameters[number] is parameter for parameter in unchanged) for number in missing) and all(
        _has_moments(moments[number], parameters[number]) for number in moments)


def _has_moments(state, parameter):
    """Whether a dictionary has the moments of a parameter and how many steps they come from."""
    kinds = tensor_kinds({name: state[name] for name in MOMENTS})
    like = tensor_kinds({"parameter": parameter})["parameter"]
    return (set(state) == MOMENTS and kinds["exp_avg"] == kinds["exp_avg_sq"] == like
            and kinds["step"] == ((), torch.float32, torch.strided) and 1 <= state["step"].item() < float("inf"))


def _has(record, kinds):
    """Whether a dictionary has all these keys, with values of these kinds. A bool is no number here."""
    return isinstance(record, dict) and all(
        name in record and isinstance(record[name], kind) and not isinstance(record[name], bool)
        for name, kind in kinds.items())


def _has_numbers(row):
    """Whether the columns of a row of metrics.csv that are not in ROW have names and hold numbers."""
    return all(isinstance(name, str) and isinstance(value, int | float) for name, value in row.items() if name not in ROW)
