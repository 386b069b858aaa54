"""Entry point of the API: `python -m api`."""

from worker.composition.api import main

if __name__ == "__main__":
    raise SystemExit(main())
