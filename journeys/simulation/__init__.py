"""Journeys in memory: the simulator, the backtest and the gate that both use."""
