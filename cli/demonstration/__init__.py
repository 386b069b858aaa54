"""Parts of the demonstration: half a year played live, compared with the backtest."""
