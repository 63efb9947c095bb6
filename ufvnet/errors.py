"""Errors that a user can fix; their messages name the cause."""


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names each key, its value and what is allowed."""


class TrainingError(RuntimeError):
    """A training that cannot continue; the message says where and why."""


class DivergedError(TrainingError):
    """A training whose loss ran away or is not finite: the method did not learn with this recipe."""


class PipelineError(RuntimeError):
    """A step of the pipeline that cannot continue; the message is one line that says why."""


class NothingUsableError(PipelineError):
    """A run over folders has ended, and none of its inputs could be used."""


class OutputLostError(PipelineError):
    """The output folder of a run, or the run's notes in it, disappeared during the run; the message says which."""


class EvaluationError(PipelineError):
    """An evaluation that cannot continue, or not on this machine; the message says where and why."""


def in_one_line(error: Exception) -> str:
    """Another library's error about a damaged file, in one line of at most 300 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
