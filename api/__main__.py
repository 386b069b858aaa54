"""`python -m api` names the process; it is put together where the rooms meet, in `worker/composition/api.py`."""

from worker.composition.api import main

if __name__ == "__main__":
    raise SystemExit(main())
