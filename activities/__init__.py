"""Effects of journeys: steps, the gate, delivery, channels, content and exports."""
