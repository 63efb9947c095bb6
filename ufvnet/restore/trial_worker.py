"""The process of a trial: ``python -P -m ufvnet.restore.trial_worker`` restores a picture and writes it nowhere."""

from __future__ import annotations

import sys

from ufvnet.children import coming_job, without_collection


def main() -> None:
    """Restore the job's picture, then give back the token, which says that it did no harm."""
    job = coming_job()
    with without_collection():
        from ufvnet.restore.single import restore_alone

    token, config, name, content, ending = job()
    config = config.model_copy(update={"faces": None, "compare": None})
    restore_alone(config, name, content, ending)
    sys.stdout.write(token)


if __name__ == "__main__":
    main()
