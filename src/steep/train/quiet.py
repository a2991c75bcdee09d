"""Keeps what libraries say of themselves off the terminal while steep shows its own progress."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """No progress bars of transformers and datasets, no warnings; afterwards all is as it was."""
    import datasets
    from transformers.utils import logging

    bars, packing = logging.is_progress_bar_enabled(), not datasets.are_progress_bars_disabled()
    verbosity = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
        if packing:
            datasets.enable_progress_bars()
