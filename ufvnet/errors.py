"""Errors that a user can mend."""


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names each key, its value and what is allowed."""


class TrainingError(RuntimeError):
    """A training that cannot go on; the message says where and why."""


class PipelineError(RuntimeError):
    """A step of the pipeline that cannot go on; the message is one line that says why."""


class EmptyDatasetError(PipelineError):
    """A dataset was built, and not one photo became a face."""


class NothingUsableError(PipelineError):
    """A run over folders is done, and not one of the inputs could be used."""


class OutputLostError(PipelineError):
    """The output folder of a run, or its notes in it, went away while it ran; the message says which."""


class EvaluationError(PipelineError):
    """An evaluation that cannot go on, or not on this machine; the message says where and why."""
