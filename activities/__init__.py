"""Effects of journeys on the world: the gate's transaction, delivery, tasks, exports."""
