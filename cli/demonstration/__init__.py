"""Parts of `python -m cli demo`: half a year of purchases in about two minutes, compared with the backtest."""
