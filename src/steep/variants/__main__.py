"""The process of a variant's run. Exit codes are those of the command line; what it prints is why it failed."""

from __future__ import annotations

import json
import sys

from steep.children import end_with_parent
from steep.errors import INTERRUPTED, SteepError
from steep.pipeline import Options, run_recipe
from steep.terminal import accept_any_text


def main() -> None:
    parent, path, runs, until, overrides = json.loads(sys.argv[1])
    accept_any_text()
    end_with_parent(parent)
    try:
        run_recipe(path, overrides, runs=runs, options=Options(until=until))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except SteepError as error:
        print(error)  # noqa: T201
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
