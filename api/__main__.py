"""`python -m api` names the process; it is put together where the rooms meet, in `worker/http.py`."""

from worker.http import main

if __name__ == "__main__":
    raise SystemExit(main())
