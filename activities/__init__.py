"""What a journey does to the world: the gate's transaction, delivery, tasks, audiences."""
