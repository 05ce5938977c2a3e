"""Labels, a classifier and a view of the annotators from anybody's own answers, for Python: aggregate(answers)."""
from OwnData.aggregation import Result, aggregate

__all__ = ["Result", "aggregate"]
