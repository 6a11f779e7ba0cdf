"""What a data set asks for, one file a task: its metrics, default loss, figures and predictions.

To add a task, write its file and add it to `TASKS`; nothing else branches on the task's name.
"""

from bptrain.problem import Problem, TaskName
from bptrain.tasks.classification import CLASSIFICATION
from bptrain.tasks.language_model import LANGUAGE_MODEL
from bptrain.tasks.regression import REGRESSION
from bptrain.tasks.tagging import TAGGING
from bptrain.tasks.task import Task
from bptrain.tasks.transcription import TRANSCRIPTION

TASKS: dict[TaskName, Task] = {
    "classification": CLASSIFICATION,
    "regression": REGRESSION,
    "tagging": TAGGING,
    "language_model": LANGUAGE_MODEL,
    "transcription": TRANSCRIPTION,
}


def task_of(problem: Problem) -> Task:
    """Return the task of a problem."""
    return TASKS[problem.task]
