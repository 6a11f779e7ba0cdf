"""Is the gradient right? `check` proves it on a module of the user's own.

from bptrain.verify import check
report = check(module, inputs)
assert report.ok, report
"""

from bptrain.verify.check import check
from bptrain.verify.finite_differences import Sampling
from bptrain.verify.report import Report, Row
from bptrain.verify.tape_rows import tape_rows

__all__ = ["Report", "Row", "Sampling", "check", "tape_rows"]
